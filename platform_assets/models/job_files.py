"""What goes into a training by other processes, and what comes out of it, as objects below one prefix.

    <prefix>/rows.parquet, job.json   → checkpoint.pt →   model/…, result.json

`result.json` is written last: where it is, the model is whole.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platform_assets.governance.suppression import put_unless_erased
from platform_assets.ledger.ledger import Ledger
from platform_assets.models.checkpoints import RETENTION_DAYS, ObjectCheckpoints
from platform_assets.models.errors import TrainingError
from platform_assets.models.trainer import TrainingConfig
from platform_assets.references import DatasetVersion
from resources.locks import Locks
from resources.object_store import ObjectMissingError, ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_FILE: Final = "rows.parquet"
_JOB_FILE: Final = "job.json"
_RESULT_FILE: Final = "result.json"
_MODEL_FOLDER: Final = "model"


@dataclass(frozen=True, slots=True)
class JobInputs:
    """What a job is made of."""

    dataset: DatasetVersion
    """That the rows go back to: of which task, whose they are, and how they may be read."""
    rows: "pa.Table"
    """The features."""
    config: TrainingConfig
    source_commit: str
    """Of the spec that is trained."""


def files_prefix(model_prefix: str) -> str:
    """Key of what is left of a training until the model at `model_prefix` is whole."""
    return f"{model_prefix}.checkpoint"


class JobFiles:
    """The files of one training job."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        """Touches nothing yet.

        Args:
            store: keeps them.
            prefix: `models/<env>/<line>/<version>.checkpoint`.
        """
        self._store = store
        self.prefix = prefix

    @property
    def uri(self) -> str:
        """Where the model's files will lie."""
        return self._store.uri(f"{self.prefix}/{_MODEL_FOLDER}")

    def checkpoints(self, source_commit: str) -> ObjectCheckpoints:
        """Where its checkpoint is kept."""
        return ObjectCheckpoints(self._store, self.prefix, source_commit=source_commit)

    def put_inputs(self, inputs: JobInputs, *, ledger: Ledger, salt: bytes, locks: Locks) -> None:
        """Store what the processes will read.

        Args:
            inputs: That.
            ledger: Knows whose rows were erased meanwhile.
            salt: Of the hash by which it knows them.
            locks: Hold an erasure off while rows are put.

        Raises:
            ErasureError: some were.
        """
        put_unless_erased(
            self._store,
            f"{self.prefix}/{_ROWS_FILE}",
            inputs.rows,
            namespace=inputs.dataset.subject_namespace,
            column=inputs.dataset.subject_column,
            gdpr_class=inputs.dataset.gdpr_class,
            retention_days=min(RETENTION_DAYS, inputs.dataset.retention_days),
            source_commit=inputs.source_commit,
            ledger=ledger,
            salt=salt,
            locks=locks,
        )
        job = {
            "dataset": inputs.dataset.model_dump(mode="json"),
            "config": inputs.config.model_dump(mode="json"),
        }
        self._put(_JOB_FILE, json.dumps(job).encode(), inputs.source_commit)

    def inputs(self, config_type: Callable[[str], type[TrainingConfig]]) -> JobInputs:
        """What was put.

        Args:
            config_type: By name of a task, what its trainer is told.

        Raises:
            TrainingError: there are no inputs.
        """
        import pyarrow.parquet as pq

        rows = f"{self.prefix}/{_ROWS_FILE}"
        try:
            job = json.loads(self._store.get(f"{self.prefix}/{_JOB_FILE}"))
            dataset = DatasetVersion.model_validate(job["dataset"])
            return JobInputs(
                dataset=dataset,
                rows=pq.read_table(io.BytesIO(self._store.get(rows))),
                config=config_type(dataset.task).model_validate_json(json.dumps(job["config"])),
                source_commit=self._store.info(rows).source_commit,
            )
        except ObjectMissingError as problem:
            raise TrainingError(
                f"training job {self.prefix} has no inputs ({problem}); the model asset of its line puts them there"
            ) from None

    def put_result(self, model: Path, result: Mapping[str, Any], *, source_commit: str) -> None:
        """Store the files in the folder `model`, and then what the training says of itself."""
        for file in sorted(path for path in model.iterdir() if path.is_file()):
            self._put(f"{_MODEL_FOLDER}/{file.name}", file, source_commit)
        self._put(_RESULT_FILE, json.dumps(result).encode(), source_commit)

    def result(self) -> dict[str, Any] | None:
        """What was put; None before the end."""
        try:
            result: dict[str, Any] = json.loads(self._store.get(f"{self.prefix}/{_RESULT_FILE}"))
        except ObjectMissingError:
            return None
        return result

    def model(self) -> Path:
        """A folder with the model's files, to be read only."""
        return self._store.folder(f"{self.prefix}/{_MODEL_FOLDER}")

    def clear(self) -> None:
        """Remove whatever lies there; the result first, for without the rest it would say what is not true."""
        keys = list(self._store.list(self.prefix))
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{_RESULT_FILE}")):
            self._store.delete(key)

    def _put(self, name: str, content: bytes | Path, source_commit: str) -> None:
        self._store.put(
            f"{self.prefix}/{name}",
            content,
            gdpr_class="internal",
            retention_days=RETENTION_DAYS,
            source_commit=source_commit,
        )
