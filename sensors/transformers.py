"""FeatureTransformers of a cluster are registered: what becomes of each object, and what its status says.

The ledger is written before the status. Whoever dies between the two finds the one as it is and writes the other.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ValidationError as PydanticValidationError

from platform_assets.features.transformer_crd import REGISTERED
from platform_assets.features.transformer_objects import (
    Registration,
    Registrations,
    record,
    registration_of,
)
from platform_assets.features.transformer_spec import FeatureTransformer, transformer_of_object
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import is_reserved
from platform_assets.manifest import first_problem
from resources.cluster import ClusterError, ClusterUnreachableError
from resources.custom_objects import Content, CustomObjects

Reason = Literal["Registered", "Invalid", "NameTaken"]
_LONGEST_MESSAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an object must go with."""

    taken: Mapping[str, str] = field(default_factory=dict)
    """Names that transformers of files, lines and other assets have, each with where that is said."""
    datasets: Collection[str] = ()
    """Names of the dataset assets that there are."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of an object."""

    reason: Reason
    message: str
    transformer: FeatureTransformer | None = None
    """Where it is to be registered."""


def judged(
    content: Content, surroundings: Surroundings, newest: Registration | None, *, namespace: str
) -> Judgement:
    """What becomes of an object.

    Args:
        content: As the cluster has it.
        surroundings: What it must go with.
        newest: What the ledger says of its name.
        namespace: Of the object.
    """
    name = name_of(content)
    if place := surroundings.taken.get(name) or ("the platform itself" if is_reserved(name) else ""):
        return Judgement("NameTaken", f"{name} is the name of {place}; give the object another")
    if newest is not None and newest.state == "registered" and newest.namespace != namespace:
        return Judgement("NameTaken", f"{name} is the name of {newest.place}; give the object another")
    try:
        transformer = transformer_of_object(content)
    except PydanticValidationError as problem:
        return Judgement("Invalid", first_problem(problem))
    dataset = transformer.spec.dataset
    if dataset is not None and dataset not in surroundings.datasets:
        known = ", ".join(sorted(surroundings.datasets)) or "none"
        return Judgement("Invalid", f"spec.inputSource: no line makes {dataset}; known are {known}")
    return Judgement(
        "Registered",
        f"lines may use it as {name}; its asset is there once the code location is loaded anew",
        transformer,
    )


def name_of(content: Content) -> str:
    """What assets and lines would call an object, whether it is valid or not."""
    return str(content["metadata"]["name"]).replace("-", "_")


def status_of(
    content: Content, judgement: Judgement, newest: Registration | None, *, version: int | None, now: datetime
) -> dict[str, Any] | None:
    """The fields of an object's status that tell of it; None where they do so already.

    Args:
        content: The object as the cluster has it, with the status that it has.
        judgement: What became of it.
        newest: What the ledger says of its name, afterwards.
        version: Number of its newest fitted version.
        now: The current time.
    """
    metadata, before = content["metadata"], content.get("status") or {}
    own = newest if newest and newest.state == "registered" and newest.uid == metadata["uid"] else None
    message = judgement.message
    if own is not None and judgement.reason == "Invalid":
        message = f"{message}; what was registered of generation {own.generation} stays"
    conditions = list(before.get("conditions") or ())
    told = next((each for each in conditions if each["type"] == REGISTERED), None)
    state = "True" if judgement.reason == "Registered" else "False"
    condition = {
        "type": REGISTERED,
        "status": state,
        "reason": judgement.reason,
        "message": message[:_LONGEST_MESSAGE],
        "observedGeneration": metadata["generation"],
        "lastTransitionTime": told["lastTransitionTime"]
        if told and told["status"] == state
        else now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    wanted = {
        "observedGeneration": metadata["generation"],
        "assetKey": own.name if own else None,
        "newestVersion": f"v{version}" if own and version else None,
        "conditions": [*(each for each in conditions if each["type"] != REGISTERED), condition],
    }
    return wanted if any(before.get(key) != value for key, value in wanted.items()) else None


@dataclass(frozen=True, slots=True)
class Registrar:
    """Looks at the objects of a namespace, again and again."""

    ledger: Ledger
    objects: CustomObjects
    surroundings: Surroundings
    newest: Callable[[], Registrations]
    """What the ledger says, each time it is asked."""
    version: Callable[[str], int | None]
    """Number of the newest fitted version of a name."""

    def look(self, *, now: datetime) -> list[str]:
        """Registers what is new or has changed, notes what is gone, and writes what has become of each; what was done.

        Raises:
            ClusterError: The objects cannot be listed, or nobody answers any more.
            LedgerError: The ledger is damaged.
        """
        found = self.objects.found()
        told = []
        for content in found:
            told += self._look_at(content, now)
        told += self._note_removed({content["metadata"]["uid"] for content in found})
        return told

    def _look_at(self, content: Content, now: datetime) -> list[str]:
        name, metadata = content["metadata"]["name"], content["metadata"]
        subject = name_of(content)
        before = self.newest().get(subject)
        judgement = judged(content, self.surroundings, before, namespace=self.objects.namespace)
        told = []
        if judgement.transformer is not None:
            registration = registration_of(
                judgement.transformer,
                namespace=self.objects.namespace,
                uid=metadata["uid"],
                generation=metadata["generation"],
            )
            if record(self.ledger, registration):
                told.append(f"{name}: registered as {subject}, generation {metadata['generation']}")
        elif judgement.reason == "NameTaken" and before and before.uid == metadata["uid"]:
            told += self._remove(before, judgement.message)
        status = status_of(
            content, judgement, self.newest().get(subject), version=self.version(subject), now=now
        )
        if status is None:
            return told
        try:
            written = self.objects.patch_status(content, status)
        except ClusterUnreachableError:
            raise
        except ClusterError as problem:
            return [*told, str(problem)]
        if judgement.transformer is None and written:
            told.append(f"{name}: {judgement.reason}: {judgement.message}")
        return told

    def _note_removed(self, present: Collection[str]) -> list[str]:
        gone = [
            each
            for each in self.newest().values()
            if each.state == "registered"
            and each.namespace == self.objects.namespace
            and each.uid not in present
        ]
        return [line for each in gone for line in self._remove(each, "the object is gone")]

    def _remove(self, registration: Registration, why: str) -> list[str]:
        if registration.state == "registered" and record(self.ledger, replace(registration, state="removed")):
            return [f"{registration.name}: removed: {why}"]
        return []
