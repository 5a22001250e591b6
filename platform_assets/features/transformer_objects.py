"""Which FeatureTransformers of a cluster are registered: the newest ledger entry of each name says so.

| body of an entry of kind `transformer_object` | |
|---|---|
| `state` | `registered`, or `removed` where the object is gone or a file has its name |
| `namespace`, `uid`, `generation` | the object that was found |
| `object` | it: apiVersion, kind, name, annotations of the platform, spec with defaults written out |

An entry is keyed by the one before it. So what is told again changes nothing, and what comes back is told anew.
"""

import logging
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.features.transformer_spec import FeatureTransformer
from platform_assets.ledger.entry import GENESIS, Entry, fingerprint_of
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.ledger import Ledger
from platform_assets.manifest import first_problem

KIND: Final = "transformer_object"
_OURS: Final = "platform-assets/"
"""Annotations with this prefix are read; others are those of tools, and may be long."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    """What the ledger says of one name."""

    name: str
    state: Literal["registered", "removed"]
    namespace: str
    uid: str
    generation: int
    object: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """What an entry says."""
        return cls(name=entry.subject, **entry.body)

    @property
    def place(self) -> str:
        """What people find the object by."""
        return f"the object {self.object['metadata']['name']} in namespace {self.namespace}"

    def body(self) -> dict[str, JsonValue]:
        """What its entry says."""
        return {
            "state": self.state,
            "namespace": self.namespace,
            "uid": self.uid,
            "generation": self.generation,
            "object": self.object,
        }


Registrations = dict[str, Registration]
"""By name; those that were removed, too."""


def registrations_follower() -> Follower[Registrations]:
    """The newest registration of each name."""

    def take(found: Registrations, entry: Entry) -> None:
        found[entry.subject] = Registration.of(entry)

    return Follower([KIND], dict, take)


def registrations(ledger: Ledger) -> list[Registration]:
    """What is registered now, by name."""
    newest = registrations_follower().look(ledger)
    return [newest[name] for name in sorted(newest) if newest[name].state == "registered"]


def registered_objects(ledger: Ledger) -> list[tuple[str, FeatureTransformer]]:
    """The transformers that are registered now, with where each is, by name.

    One that this version cannot read is logged and left out.
    """
    found = []
    for each in registrations(ledger):
        try:
            found.append((each.place, FeatureTransformer.model_validate(each.object)))
        except PydanticValidationError as problem:
            log.error(  # noqa: TRY400 - the traceback quotes the object
                "%s was registered and cannot be read any more: %s; correct the object",
                each.place,
                first_problem(problem),
            )
    return found


def registration_of(
    transformer: FeatureTransformer, *, namespace: str, uid: str, generation: int
) -> Registration:
    """What registering an object says."""
    annotations = transformer.metadata.annotations
    return Registration(
        name=transformer.name,
        state="registered",
        namespace=namespace,
        uid=uid,
        generation=generation,
        object={
            "apiVersion": transformer.api_version,
            "kind": transformer.kind,
            "metadata": {
                "name": transformer.metadata.name,
                "annotations": {key: text for key, text in annotations.items() if key.startswith(_OURS)},
            },
            "spec": transformer.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        },
    )


def record(ledger: Ledger, registration: Registration) -> bool:
    """Makes a registration, or a removal, what the ledger says of its name; False where it says so already.

    Raises:
        LedgerError: The ledger is damaged.
    """
    body = registration.body()
    newest = ledger.latest(KIND, registration.name)
    if newest is not None and newest.body == body:
        return False
    with ledger.exclusive() as writer:
        newest = ledger.latest(KIND, registration.name)
        if newest is not None and newest.body == body:
            return False
        previous = newest.hash if newest else GENESIS
        writer.append(
            KIND, registration.name, fingerprint=fingerprint_of(previous=previous, **body), body=body
        )
    return True
