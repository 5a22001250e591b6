"""What the drafts of all tasks have in common."""

from collections.abc import Mapping, Sequence
from typing import Final

from platform_assets.datasets.ingestion import SPLITS
from platform_assets.scaffold.contract_text import Domain, Rule
from platform_assets.scaffold.margins import rate_bounds
from platform_assets.scaffold.yaml_text import comment, entries, percent, scalar
from platform_assets.validation.gate import MIN_DRIFT_ROWS

MAX_AGE_DAYS: Final = 90
_ROOM: Final = 1.1
"""Splits are drawn: one that should just hold the fewest rows may hold fewer."""

GateEntry = tuple[str | bool, str]
"""A condition, and a comment beside it."""


def given(column: str) -> Rule:
    """A column that is never empty."""
    return Rule("expect_column_values_to_not_be_null", {"column": column})


def label_quality(rate: float, rows: int, owner: str) -> Domain:
    """Both classes, about as frequent as they were."""
    low, high = rate_bounds(rate, rows)
    return Domain(
        "label_quality",
        "both classes, no third, about as frequent as they were.",
        [
            given("label"),
            Rule("expect_column_values_to_be_in_set", {"column": "label", "value_set": [0, 1]}),
            Rule(
                "expect_column_mean_to_be_between",
                {"column": "label", "min_value": low, "max_value": high},
                f"{percent(rate)} were seen",
            ),
        ],
        owner,
    )


def volume(rows: int, owner: str) -> Domain:
    """About as many rows as there were, in known splits."""
    return Domain(
        "volume",
        "about as many rows as there were, in the splits that training and validation read.",
        [
            Rule(
                "expect_table_row_count_to_be_between",
                {"min_value": rows // 2, "max_value": 10 * rows},
                f"{rows:,} were seen",
            ),
            Rule("expect_column_values_to_be_in_set", {"column": "split", "value_set": list(SPLITS)}),
            Rule(
                "expect_column_distinct_values_to_contain_set",
                {"column": "split", "value_set": ["train", "validation", "test"]},
            ),
        ],
        owner,
    )


def modest_gates(rows: int, *, smallest_share: float, baseline: str | None) -> dict[str, GateEntry]:
    """Gates that can be decided on so many rows, and that a first model of any use passes.

    Args:
        rows: Of the whole file.
        smallest_share: Of the rows, in the smaller one of test and validation split.
        baseline: What the baseline is, in words; None where the model is none better.
    """
    gates: dict[str, GateEntry] = {
        "auc": ("> 0.6", "decide: raise it after the first run, to what is of use")
    }
    if baseline:
        gates["beats_baseline"] = (True, baseline)
    if smallest_share * rows >= _ROOM * MIN_DRIFT_ROWS:
        gates["score_drift_ks"] = ("<= 0.1", "scores of the validation split against the test split")
    gates["auc_drop_from_production"] = ("<= 0.02", "against the active release, on the same rows")
    return gates


def gates_text(gates: Mapping[str, GateEntry], domains: Sequence[str]) -> str:
    """The sections `gates` and `requires` of a spec: every verdict that gates and contract give is demanded."""
    text = "# Gates: each leaves a verdict. A deployment demands every verdict listed under `requires`.\ngates:\n"
    text += entries(((f"{name}: {scalar(bound)}", said) for name, (bound, said) in gates.items()), indent=2)
    text += "requires:\n  deploy:\n"
    demanded = [("dataset", f"contract.{domain}") for domain in ("schema", *domains)]
    demanded += [("model", f"gate.{gate}") for gate in gates]
    for subject, rule_set in demanded:
        text += f"    - {{subject: {subject}, rule_set: {rule_set}, max_age_days: {MAX_AGE_DAYS}}}\n"
    return text


def card_text(owner: str, intended_use: str) -> str:
    """The section `card` of a spec."""
    text = "card:\n" + entries([(f"owner: {scalar(owner)}", "decide: who answers for the model")], indent=2)
    text += comment("decide: for whom, for which decision, and what it must not be used for", indent=2)
    text += f"  intended_use: {scalar(intended_use)}\n"
    text += f"  limitations: {scalar('Known from one file only; nobody has yet said where it must not be relied on.')}\n"
    return text
