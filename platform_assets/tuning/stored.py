"""A tuning in the object store: the Experiment with its status, pictures, and `tuning.json` last, which makes it complete.

    reports/<env>/<line>/tuning-<fingerprint>/experiment.json, history.png, …, tuning.json

What is not whole is made anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from platform_assets.references import FeaturesVersion, TuningVersion
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.tuning import Tuned
from resources.object_store import ObjectStore

EXPERIMENT_FILE: Final = "experiment.json"
TUNING_FILE: Final = "tuning.json"
RETENTION_DAYS: Final = 3650
"""As long as models that were trained by it."""


@dataclass(frozen=True, slots=True)
class StoredTuning:
    """What a tuning has left."""

    folder: str
    """Key below which its objects lie."""
    sentence: str
    """How the best trial compares, for people."""
    trials: list[dict[str, Any]]
    """Each as `TrialStatus.to_json`."""
    pictures: tuple[str, ...]
    """Names of the PNG files, in reading order."""
    outcome: dict[str, Any]
    """What `reference` is made of."""

    @property
    def is_complete(self) -> bool:
        """Whether the Experiment has ended as it should, with a trial that has a value."""
        return bool(self.outcome["trial"])

    @property
    def status_key(self) -> str:
        """Object key of the Experiment with its status."""
        return f"{self.folder}/{EXPERIMENT_FILE}"

    def reference(self, features: FeaturesVersion) -> TuningVersion:
        """What the asset hands on."""
        return TuningVersion(features=features, status_key=self.status_key, **self.outcome)


def tuning_folder(env: str, line: str, fingerprint: str) -> str:
    """Where the tuning with this fingerprint lies."""
    return f"reports/{env}/{line}/tuning-{fingerprint[:16]}"


def find_tuning(store: ObjectStore, folder: str) -> StoredTuning | None:
    """The tuning below `folder`, if it is whole."""
    key = f"{folder}/{TUNING_FILE}"
    if not store.exists(key):
        return None
    found: dict[str, Any] = json.loads(store.get(key))
    return StoredTuning(folder, **found | {"pictures": tuple(found["pictures"])})


def store_tuning(
    store: ObjectStore,
    folder: str,
    experiment: Experiment,
    tuned: Tuned,
    pictures: Mapping[str, bytes],
    *,
    source_commit: str,
) -> StoredTuning:
    """Put all of a tuning; a process that dies on the way leaves none."""
    written = json.dumps(experiment_with_status(experiment, tuned), indent=2).encode()
    kept = StoredTuning(
        folder,
        sentence=tuned.sentence,
        trials=[each.to_json() for each in tuned.status.trials],
        pictures=tuple(pictures),
        outcome={
            "experiment": experiment.name,
            "experiment_sha256": experiment.sha256,
            "trial": tuned.trial,
            "objective": experiment.objective.metric,
            "value": tuned.value,
            "default_value": tuned.default_value,
            "assignment": dict(tuned.assignment),
            "status_sha256": hashlib.sha256(written).hexdigest(),
        },
    )
    told = {name: value for name, value in asdict(kept).items() if name != "folder"}
    contents = {
        EXPERIMENT_FILE: written,
        **{f"{name}.png": png for name, png in pictures.items()},
        TUNING_FILE: json.dumps(told, indent=2).encode(),
    }
    for name, content in contents.items():
        store.put(
            f"{folder}/{name}",
            content,
            gdpr_class="internal",
            retention_days=RETENTION_DAYS,
            source_commit=source_commit,
        )
    return kept


def experiment_with_status(experiment: Experiment, tuned: Tuned) -> dict[str, Any]:
    """The Experiment as `kubectl get` would show it: the file's content with the status."""
    content: dict[str, Any] = experiment.manifest.content.model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    return content | {"status": tuned.status.to_json()}
