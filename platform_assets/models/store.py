"""A trained model in the object store: its files, and `model.json` last, which makes it complete."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from platform_assets.models.trainer import TrainingResult
from platform_assets.references import FeaturesVersion, ModelVersion
from resources.object_store import ObjectStore

MANIFEST_FILE = "model.json"
RETENTION_DAYS = 3650
"""Models are kept for ten years: a card or a prediction may be questioned that late."""


def object_prefix(env: str, line: str, fingerprint: str) -> str:
    """Where the model with this fingerprint lies."""
    return f"models/{env}/{line}/{fingerprint[:16]}"


def find_model(store: ObjectStore, prefix: str, features: FeaturesVersion) -> ModelVersion | None:
    """The finished model under `prefix`, as made from these features; None where there is none."""
    key = f"{prefix}/{MANIFEST_FILE}"
    if not store.exists(key):
        return None
    return ModelVersion.model_validate_json(store.get(key)).model_copy(update={"features": features})


def save_model(
    store: ObjectStore,
    result: TrainingResult,
    *,
    features: FeaturesVersion,
    fingerprint: str,
    prefix: str,
    tracking_run_id: str,
    settings: Mapping[str, str | int | float | bool | None],
    source_commit: str,
    code_commit: str,
    source_author: str | None = None,
    started_by: str | None = None,
) -> ModelVersion:
    """Put the trained and completed files into the store and return their reference.

    A process that dies on the way leaves no model: the manifest is written last.
    """
    model = ModelVersion(
        features=features,
        fingerprint=fingerprint,
        weights_sha256=result.weights_sha256,
        object_prefix=prefix,
        tracking_run_id=tracking_run_id,
        training={
            **settings,
            **asdict(result.hardware),
            "steps": result.steps,
            "rows": result.rows,
            "final_loss": result.final_loss,
            "train_seconds": round(result.train_seconds, 1),
        },
        source_commit=source_commit,
        code_commit=code_commit,
        source_author=source_author,
        started_by=started_by,
    )
    for file in sorted(path for path in result.output.iterdir() if path.is_file()):
        _put(store, f"{prefix}/{file.name}", file, source_commit)
    _put(store, f"{prefix}/{MANIFEST_FILE}", model.model_dump_json(indent=2).encode(), source_commit)
    return model


def _put(store: ObjectStore, key: str, content: bytes | Path, source_commit: str) -> None:
    store.put(key, content, gdpr_class="internal", retention_days=RETENTION_DAYS, source_commit=source_commit)
