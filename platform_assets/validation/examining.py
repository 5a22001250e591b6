"""What a model shows of single rows when it is asked about them again, changed."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from platform_assets.fingerprint import canonical_sha256
from platform_assets.models.scorer import Scorer
from platform_assets.references import ModelVersion
from platform_assets.sheets import SUFFIX, Sheet
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.evaluator import Examining
from platform_assets.validation.report import own_test_rows
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa


def sheet_name(scores_key: str, examining_code: str) -> str:
    """Object key of the sheet that belongs to stored scores, by the code that makes it."""
    folder, _, scores = scores_key.rpartition("/")
    return f"{folder}/sheet-{canonical_sha256([examining_code, scores])[:16]}{SUFFIX}"


def made_sheet(
    model: ModelVersion,
    scorer: Scorer,
    evaluator: Examining[Any],
    tested: "pa.Table",
    spec: BaseModel,
    warehouse: Warehouse,
    *,
    threshold: float,
) -> Sheet:
    """The sheet of a model.

    Args:
        model: Of the features.
        scorer: The model.
        evaluator: Asks it.
        tested: Scored test rows of the line's own sources.
        spec: The line's spec.
        warehouse: Holds the features.
        threshold: A score of at least this predicts label 1.

    Raises:
        ValidationError: features and scores are not of the same rows.
    """
    table, subject = model.features.snapshot, model.features.dataset.subject_column
    features = own_test_rows(warehouse.read(table.table, table.snapshot_id), model)
    if not features[subject].equals(tested[subject]):
        raise ValidationError(
            f"{table.table} and the stored scores are not of the same rows; "
            f"materialize {model.features.dataset.line}_features again"
        )
    return evaluator.examined(scorer, features, tested, spec, threshold=threshold)
