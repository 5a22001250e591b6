"""What a training spec says about a line of tables."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from platform_assets.datasets.spec import BlockSplitSpec, DatasetSpec, SplitSharesSpec
from platform_assets.features.transformer_spec import RESERVED
from platform_assets.manifest import AddedLater, Many, Section
from platform_assets.models.scorer import THRESHOLD
from platform_assets.tasks.tabular_classification.derived_spec import (
    Derived,
    Lineage,
    misfit,
    refused_derivations,
    told_by_the_target,
)
from platform_assets.tasks.training_spec import Misfit, TrainingSpec
from resources.warehouse import SUBJECT_NAMESPACE

FEATURE_ROLES: Final = ("numeric", "categorical", "ordinal")
ROW_ID: Final = "row_id"
"""The subject's column where no column is a key."""
FAIRNESS_GATES: Final = ("parity_ratio", "parity_difference", "equalized_odds_difference")
"""Rules of gates that need `fairness`."""
SCORECARD_GATES: Final = ("auc_behind_challenger", "coefficients_agree")
"""Rules of gates that need `model: scorecard`."""
TRANSFORMER_GATES: Final = ("auc_gain_from_transformers",)
"""Rules of gates that need `transformers`, and a model that can be trained without them."""
SCORE_WITHOUT_TRANSFORMERS: Final = "score_without_transformers"
"""Column of scored rows, where the model reads what transformers make."""
NO_WEIGHT: Final = (
    "a scorecard reads weights of evidence and nothing else; name the column in a transformer of the type woe, or say "
    "feature: false"
)
TRANSFORMER: Final = r"^[a-z][a-z0-9_]{0,62}@(v[1-9][0-9]{0,8}|latest)$"
"""A fitted transformer as a line names it."""
_ONCE: Final = ("key", "target", "time", "available", "group")

Value = str | int | bool
"""A value as YAML has it; `1` and `"1"` are the same."""


class ColumnSpec(Section):
    """One column of the source, by what it is for."""

    role: Literal["key", "target", "numeric", "categorical", "ordinal", "time", "available", "group"]
    """`key`: whose a row is. `group`: what a split must not divide. `time`: when it was; no feature by itself.
    `available`: when what transformers learn from the row became known, such as its target; no feature either."""
    positive: Value | None = None
    """Of the target: the value whose rows have label 1; rows of the only other value have label 0."""
    order: Many[Value] = ()
    """Of an ordinal column: all its values, the lowest first."""
    feature: bool = True
    """Of a numeric, categorical or ordinal column: whether the model reads it. One that it must not read may
    still be in the contract and tell groups apart."""

    @model_validator(mode="after")
    def _belongs_to_its_role(self) -> Self:
        if (self.role == "target") != (self.positive is not None):
            raise ValueError("a target, and nothing else, states which value is `positive`")
        if (self.role == "ordinal") != bool(self.order):
            raise ValueError("an ordinal column, and nothing else, states the `order` of its values")
        if len(set(map(str, self.order))) != len(self.order):
            raise ValueError("a value stands twice in `order`; keep one")
        if not self.feature and self.role not in FEATURE_ROLES:
            raise ValueError(f"a {self.role} is no feature anyway; remove `feature`")
        return self


def _bare_role(value: Any) -> Any:
    return {"role": value} if isinstance(value, str) else value


class ColumnsSpec(Section):
    """The columns of the source, and those derived of them, that are used, in the order of the prepared table."""

    columns: Annotated[
        dict[Annotated[str, Field(min_length=1)], Annotated[ColumnSpec, BeforeValidator(_bare_role)]],
        Field(min_length=1),
    ]
    """Role by column: a bare role, or an object that says more. Columns that stand here not at all are ignored."""
    derived: Derived = Field(default_factory=dict)
    """Columns that are made of others, by name: of those of the source, and of derived ones that stand before them. They
    have roles as any others; one without a role is there for others to be made of it. Where a value that one is made of
    is missing, its own is. Whoever asks the model gives the columns of the source."""

    @model_validator(mode="after")
    def _columns_make_a_table(self) -> Self:
        for role in _ONCE:
            if len(found := self.named(role)) > 1:
                raise ValueError(f"columns: {found[0]} and {found[1]} both are the {role}; keep one")
        if not self.named("target"):
            raise ValueError("columns: none is the target, e.g. Status: {role: target, positive: bad}")
        if not self.features:
            raise ValueError("columns: none is a feature; give some the role numeric, categorical or ordinal")
        for name, column in self.columns.items():
            if name in (*RESERVED, SCORE_WITHOUT_TRANSFORMERS) and column.role != "target":
                raise ValueError(
                    f"columns.{name}: is the name of a column that the platform adds; rename it in the source"
                )
        return self

    @model_validator(mode="after")
    def _derived_columns_can_be_made(self) -> Self:
        roles = {name: column.role for name, column in self.columns.items()}
        for problem in refused_derivations(self.derived, roles):
            raise ValueError(problem)
        if self.derived:
            for problem in told_by_the_target(self.derived, self.target, roles):
                raise ValueError(problem)
        return self

    def named(self, role: str) -> list[str]:
        """Names of the columns of this role."""
        return [name for name, column in self.columns.items() if column.role == role]

    @property
    def target(self) -> str:
        """Name of the target."""
        return self.named("target")[0]

    @property
    def lineage(self) -> Lineage:
        """What derived columns go back to."""
        return Lineage(self.derived)

    @property
    def key(self) -> str | None:
        """Name of the column that tells whose a row is."""
        return next(iter(self.named("key")), None)

    @property
    def features(self) -> dict[str, ColumnSpec]:
        """What the model reads, by name, in order."""
        return {
            name: column
            for name, column in self.columns.items()
            if column.role in FEATURE_ROLES and column.feature
        }


class RowSplitSpec(SplitSharesSpec):
    """Rows are drawn at random; all rows of a key go together."""

    by: Literal["rows"] = "rows"
    """The draw: rows at random."""


class GroupSplitSpec(SplitSharesSpec):
    """Groups are drawn at random; all rows of a group, or of a key where no column is a group, go together."""

    by: Literal["group"]
    """The draw: groups at random."""


class TimeSplitSpec(SplitSharesSpec):
    """The newest rows of each source are the test, those before them the validation.

    A key may have rows on both sides: tomorrow's customers are today's. `seed` decides only what `train_rows` keeps.
    """

    by: Literal["time"]
    """The draw: the newest rows."""


class TableBlockSplitSpec(BlockSplitSpec):
    """Whole blocks of neighbours are drawn at random, with guard rows where blocks of two splits meet."""

    by: Literal["blocks"]
    """The draw: blocks of neighbours at random."""


def _split_kind(value: Any) -> Any:
    by = value.get("by", "rows") if isinstance(value, Mapping) else getattr(value, "by", None)
    return by if isinstance(by, str) else None


TableSplitSpec = Annotated[
    Annotated[RowSplitSpec, Tag("rows")]
    | Annotated[GroupSplitSpec, Tag("group")]
    | Annotated[TimeSplitSpec, Tag("time")]
    | Annotated[TableBlockSplitSpec, Tag("blocks")],
    Discriminator(
        _split_kind,
        custom_error_type="unknown_split",
        custom_error_message="`by` must be rows, group, time or blocks",
    ),
]


class TableDatasetSpec(DatasetSpec, ColumnsSpec):
    """Labelled rows, whose they are, and how they are split."""

    subject: Annotated[str, Field(pattern=SUBJECT_NAMESPACE)] = "row"
    """The kind of subject that the key column names: the namespace of its values. Without a key column a row is
    its own subject, named by the SHA-256 of all its values, whether the spec uses them or not, but of the target, or of
    what that is made of."""
    split: TableSplitSpec = RowSplitSpec()
    """By rows, groups, time or blocks."""

    @model_validator(mode="after")
    def _split_has_its_column(self) -> Self:
        by, groups = self.split.by, self.named("group")
        if by == "time" and not self.named("time"):
            raise ValueError("split.by: time needs a column of the role time")
        if by == "group" and not groups and self.key is None:
            raise ValueError("split.by: group needs a column of the role group, or a key")
        if groups and by != "group":
            raise ValueError(
                f"split.by: {by} would divide the groups of column {groups[0]}; split by group, or give it no role"
            )
        return self


class ScorecardSpec(Section):
    """How the log-odds of a scorecard are told in points: more points, fewer events."""

    base_score: Annotated[float, Field(ge=-100_000, le=100_000)] = 600.0
    """Points of a row at `base_odds`."""
    base_odds: Annotated[float, Field(gt=0, le=1_000_000)] = 50.0
    """Rows of label 0 for each one of label 1, where `base_score` is given."""
    points_to_double_odds: Annotated[float, Field(gt=0, le=10_000)] = 20.0
    """So many points more, and there are twice as many rows of label 0 for each one of label 1."""
    refuse_wrong_signs: bool = False
    """Whether training fails where a coefficient says the opposite of its characteristic; else it is told."""


_SCORECARD_AS_ADDED: Final = {
    "base_score": 600.0,
    "base_odds": 50.0,
    "points_to_double_odds": 20.0,
    "refuse_wrong_signs": False,
}


class TabularParameters(Section):
    """How a model of a table is trained.

    What is of trees is of gradient boosting, and of a scorecard's challenger, which is gradient boosting on the raw columns.
    """

    model: Literal["logistic", "gradient_boosting", "scorecard"] = "gradient_boosting"
    """Logistic regression, gradient-boosted trees, or logistic regression on weights of evidence, told in points."""
    regularisation: Annotated[float, Field(gt=0)] = 1.0
    """L2 penalty: of the coefficients of a logistic regression or scorecard, or of the values of a tree's leaves."""
    scorecard: Annotated[ScorecardSpec, AddedLater(_SCORECARD_AS_ADDED)] = ScorecardSpec()
    """Scorecard: its scale."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = THRESHOLD
    """A score of at least this predicts label 1. Where one label is rare its share is a good start, for whoever is
    likelier than the average."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Trees: what each tree's answer is multiplied by."""
    max_iterations: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Trees: how many."""
    max_leaf_nodes: Annotated[int, Field(ge=2, le=10_000)] = 31
    """Trees: leaves of a tree."""
    min_samples_leaf: Annotated[int, Field(ge=1)] = 20
    """Trees: training rows in each leaf."""
    monotonic: dict[str, Annotated[str, Field(pattern=r"^(increasing|decreasing)$")]] = Field(
        default_factory=dict
    )
    """Trees: direction by numeric or ordinal column: `decreasing` where the probability of label 1 must
    never rise as the column does, all else being equal."""
    challenger_regularisation: Annotated[float, Field(gt=0)] = 1.0
    """Scorecard: L2 penalty of the values of its challenger's leaves."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Trees: of the rows that thresholds are taken from, where there are more than 200,000."""

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> Self:
        if self.model == "logistic":
            for name in (
                "learning_rate",
                "max_iterations",
                "max_leaf_nodes",
                "min_samples_leaf",
                "monotonic",
            ):
                if getattr(self, name) != self._unsaid(name):
                    raise ValueError(
                        f"{name}: a logistic model has none; remove it, or choose gradient_boosting"
                    )
        if self.model != "scorecard" and self.challenger_regularisation != self._unsaid(
            "challenger_regularisation"
        ):
            raise ValueError(
                f"challenger_regularisation: a {self.model} model has no challenger; remove it, or choose scorecard"
            )
        if self.model != "scorecard" and self.scorecard != ScorecardSpec():
            raise ValueError(f"scorecard: a {self.model} model has no points; remove it, or choose scorecard")
        return self

    @classmethod
    def _unsaid(cls, name: str) -> Any:
        return TabularParameters.model_fields[name].get_default(call_default_factory=True)

    @property
    def of_trees(self) -> "TabularParameters":
        """How the trees are grown: a gradient-boosted model, or a scorecard's challenger."""
        if self.model != "scorecard":
            return self
        return self.model_copy(update={"regularisation": self.challenger_regularisation})


class GroupsSpec(Section):
    """Groups of rows by the values of one column; rows without a value are the group `missing`."""

    column: Annotated[str, Field(min_length=1)]
    """A numeric, categorical or ordinal column; the model need not read it."""
    bands: Annotated[Many[float], Field(min_length=1)] | None = None
    """Of a numeric column: where the next group begins, ascending."""

    @model_validator(mode="after")
    def _bands_ascend(self) -> Self:
        if self.bands and list(self.bands) != sorted(set(self.bands)):
            raise ValueError("bands must ascend, without repetition")
        return self


class FairnessSpec(Section):
    """Between which groups of people the model is compared."""

    favourable: Literal[0, 1]
    """The predicted label that people wish for. Parity compares how often each group gets it."""
    min_rows: Annotated[int, Field(ge=50)] = 100
    """Test rows that a group needs to be compared; smaller ones are shown."""
    groups: Annotated[dict[str, GroupsSpec], Field(min_length=1)]
    """By name."""


class TransformersSpec(Section):
    """The transformers whose features a model reads."""

    transformers: Annotated[
        Many[Annotated[str, Field(pattern=TRANSFORMER)]], Field(max_length=50), AddedLater([])
    ] = ()
    """Each with its version: `credit_woe@v3` stays, `credit_woe@latest` is looked up by each run and recorded. Weights of
    evidence take the place of their columns, z-scores and lags stand beside them; those of another source than the line's
    dataset are looked up in their tables, as of the time of each row."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [each.partition("@")[0] for each in self.transformers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"transformers: {twice} stands twice; keep one version of it")
        return self


class TabularTrainingSpec(TrainingSpec, TableDatasetSpec, TransformersSpec, TabularParameters):
    """A line that sorts rows of a table into two classes."""

    fairness: FairnessSpec | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.resources.gpu or self.resources.nodes > 1:
            raise ValueError(
                "resources: models of tables train on the CPUs of one machine; leave out gpu and nodes"
            )
        for name in self.monotonic:
            if name not in self.features or self.features[name].role == "categorical":
                raise ValueError(f"monotonic.{name}: is no numeric or ordinal feature")
        for name, groups in (self.fairness.groups if self.fairness else {}).items():
            _check_groups(f"fairness.groups.{name}", groups, self.columns)
        self._check_gates_of_the_model()
        if unmeasured := [] if self.fairness else [name for name in self.gates if name in FAIRNESS_GATES]:
            raise ValueError(
                f"gates.{unmeasured[0]}: nothing is compared; say under `fairness` which groups are"
            )
        return self

    def misfit(self, raw: Mapping[str, str]) -> Misfit | None:
        """See `TrainingSpec.misfit`: what derived columns are made of."""
        return misfit(self.derived, raw, self.named("numeric"))

    def _check_gates_of_the_model(self) -> None:
        if self.model == "scorecard" and not self.transformers:
            raise ValueError(
                "model: a scorecard reads weights of evidence and nothing else; name what fits them under transformers, as "
                "[credit_woe@latest]"
            )
        if self.model == "logistic" and "beats_baseline" in self.gates:
            raise ValueError(
                "gates.beats_baseline: the baseline is a logistic regression, and so is the model; remove it"
            )
        if self.model == "scorecard" and "beats_baseline" in self.gates:
            raise ValueError(
                "gates.beats_baseline: what a scorecard is compared with is its challenger, gradient boosting on the raw "
                'columns, which it need not beat; say how far it may stay behind, as auc_behind_challenger: "<= 0.02"'
            )
        if self.model != "scorecard" and (
            of_others := [name for name in self.gates if name in SCORECARD_GATES]
        ):
            raise ValueError(
                f"gates.{of_others[0]}: is measured of scorecards only; remove it, or choose model: scorecard"
            )
        for name in TRANSFORMER_GATES:
            if name in self.gates and not self.transformers:
                raise ValueError(
                    f"gates.{name}: the model reads nothing that transformers make, so there is nothing to gain; remove it, or "
                    "name some under transformers"
                )
            if name in self.gates and self.model == "scorecard":
                raise ValueError(
                    f"gates.{name}: a scorecard cannot be trained without its weights of evidence; compare it with its "
                    'challenger, as auc_behind_challenger: "<= 0.02"'
                )


def _check_groups(where: str, groups: GroupsSpec, columns: Mapping[str, ColumnSpec]) -> None:
    role = columns[groups.column].role if groups.column in columns else None
    if role not in FEATURE_ROLES:
        raise ValueError(
            f"{where}: {groups.column} is no numeric, categorical or ordinal column; one that the model must not "
            "read says feature: false"
        )
    if (role == "numeric") != (groups.bands is not None):
        raise ValueError(f"{where}: a numeric column, and no other, needs bands")
