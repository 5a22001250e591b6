"""What goes into a training by other processes, and what comes out of it, as objects below one prefix.

    <prefix>/tokens.parquet, config.json   → checkpoint.pt →   model/…, result.json

`result.json` is written last: where it is, the model is whole.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platform_assets.models.checkpoints import RETENTION_DAYS, ObjectCheckpoints
from platform_assets.models.errors import TrainingError
from platform_assets.models.training import TrainingConfig
from resources.object_store import GdprClass, ObjectMissingError, ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

_TOKENS_FILE: Final = "tokens.parquet"
_CONFIG_FILE: Final = "config.json"
_RESULT_FILE: Final = "result.json"
_MODEL_FOLDER: Final = "model"


@dataclass(frozen=True, slots=True)
class JobInputs:
    """What a job is made of."""

    tokens: "pa.Table"
    """Columns token_ids, label, split."""
    config: TrainingConfig
    source_commit: str
    """Of the spec that is trained."""
    gdpr_class: GdprClass
    """Of the rows that the tokens were made of."""


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

    def put_inputs(self, inputs: JobInputs) -> None:
        """Store what the processes will read."""
        import pyarrow.parquet as pq

        tokens = io.BytesIO()
        pq.write_table(inputs.tokens, tokens)
        self._put(_TOKENS_FILE, tokens.getvalue(), inputs.source_commit, inputs.gdpr_class)
        self._put(_CONFIG_FILE, inputs.config.model_dump_json().encode(), inputs.source_commit)

    def inputs(self) -> JobInputs:
        """What was put.

        Raises:
            TrainingError: there are no inputs.
        """
        import pyarrow.parquet as pq

        tokens, config = f"{self.prefix}/{_TOKENS_FILE}", f"{self.prefix}/{_CONFIG_FILE}"
        try:
            info = self._store.info(tokens)
            return JobInputs(
                tokens=pq.read_table(io.BytesIO(self._store.get(tokens))),
                config=TrainingConfig.model_validate_json(self._store.get(config)),
                source_commit=info.source_commit,
                gdpr_class=info.gdpr_class,
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

    def _put(
        self, name: str, content: bytes | Path, source_commit: str, gdpr_class: GdprClass = "internal"
    ) -> None:
        self._store.put(
            f"{self.prefix}/{name}",
            content,
            gdpr_class=gdpr_class,
            retention_days=RETENTION_DAYS,
            source_commit=source_commit,
        )
