"""The first draft of a line of tables: a role for each column that can be learnt from, and what its values may be."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from platform_assets.features.transformer_spec import RESERVED
from platform_assets.scaffold.contract_text import Domain, Rule, contract_text
from platform_assets.scaffold.draft import Draft, Finding, Wanted
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.judging import Judged, judge
from platform_assets.scaffold.look import Column, look_at
from platform_assets.scaffold.margins import MARGIN, MOSTLY, bounds, share_given
from platform_assets.scaffold.parts import card_text, gates_text, given, label_quality, modest_gates, volume
from platform_assets.scaffold.personal import is_protected, words_of
from platform_assets.scaffold.target import Target, find_target
from platform_assets.scaffold.yaml_text import comment, entries, flow, one_line, percent, scalar
from platform_assets.tasks.tabular_classification.spec import ROW_ID
from platform_assets.tasks.tabular_classification.values import text_of

_SET_APART: Final = 0.2
"""Share of the rows of each of the test and the validation split."""
_FEW_ROWS: Final = 500
"""With fewer, trees learn the rows by heart."""
_FEWEST_SUBJECTS: Final = 50
"""Of fewer, a split may be drawn that has none."""
_MOST_SHOWN: Final = 5
"""Categories listed beside a column."""
_MOST_ASKED: Final = 12
"""Columns of the example: what is left out counts as missing."""
_IDENTIFIERS: Final = ("id", "key", "uuid", "guid", "identifier", "number", "no", "nr", "num")
_FEATURES: Final = ("numeric", "categorical")


class TabularDrafter:
    """Drafts lines that sort rows of a table into two classes."""

    def draft(self, wanted: Wanted) -> Draft:
        """See `Drafter.draft`."""
        columns = look_at(wanted.frame, suffix=wanted.source.suffix)
        target = find_target(columns, wanted.target)
        judged = judge(columns, target, reserved=RESERVED)
        _refuse_few_subjects(judged)
        domains = _domains(wanted, judged, target)
        used = [each for each in judged if each.role in _FEATURES]
        seen = (
            f"{len(wanted.frame):,} rows, {len(columns):,} columns, {len(used):,} to learn from; "
            f"{one_line(target.column.name)} is {scalar(text_of(target.positive))} in {percent(target.rate)}"
        )
        keys = [each.name for each in judged if each.role in ("key", "target")]
        return Draft(
            spec=_spec(wanted, judged, target, [domain.name for domain in domains], seen),
            contract=contract_text(
                wanted.line,
                f"What the data of the line {wanted.line} promises, drafted from a look at {wanted.file} ({seen}). Each "
                "domain becomes one check and one verdict. All bounds have a margin beyond what was seen: decide whether "
                "they are what you would stop at, and tighten what you know better.",
                raw={column.name: column.raw_type for column in columns},
                keys=keys,
                domains=domains,
            ),
            seen=seen,
            findings=tuple(
                Finding(each.name, each.role is not None, each.suspicion) for each in judged if each.suspicion
            ),
            instance=json.dumps(
                {each.name: _typical(each.column) for each in used[:_MOST_ASKED]},
                ensure_ascii=False,
                allow_nan=False,
            ),
        )


def _refuse_few_subjects(judged: Sequence[Judged]) -> None:
    """Refuse rows of which too few differ: without a key, equal ones are one subject, and a split divides none."""
    if any(each.role == "key" for each in judged):
        return
    kinds, found = np.zeros(len(judged[0].column.codes), dtype=np.int64), 1
    for each in judged:
        if each.role != "target" and found < _FEWEST_SUBJECTS:
            _, kinds = np.unique(kinds * (each.column.distinct + 1) + each.column.codes, return_inverse=True)
            found = int(kinds.max()) + 1
    if found < _FEWEST_SUBJECTS:
        raise ScaffoldError(
            f"its {len(kinds):,} rows are {found} different ones, the target aside, and rows that are equal stay in one "
            f"split; {_FEWEST_SUBJECTS} are the fewest: give more columns, or one that tells whose a row is (e.g. id)"
        )


def _spec(wanted: Wanted, judged: Sequence[Judged], target: Target, domains: Sequence[str], seen: str) -> str:
    rows = len(wanted.frame)
    few = rows < _FEW_ROWS
    gates = modest_gates(
        rows, smallest_share=_SET_APART, baseline=None if few else "a logistic regression of the same columns"
    )
    positive = text_of(target.positive)
    text = comment(
        f"{wanted.line}: tells {one_line(target.column.name)} = {scalar(positive)} from the other columns of "
        f"{wanted.file} ({seen}). Drafted from a look at the data; where a comment says `decide`, somebody has to."
    )
    text += f"line: {wanted.line}\ntask: tabular-classification\n"
    text += f"description: {scalar(f'Tells whether {target.column.name} is {positive}.')}\n"
    text += "\n" + _data_text(wanted, judged)
    text += "\n" + _columns_text(judged, target)
    text += _split_text(judged)
    text += "\n" + _model_text(target, few=few)
    text += "\n" + gates_text(gates, domains)
    if protected := [each for each in judged if each.role in _FEATURES and is_protected(each.name)]:
        text += "\n" + _fairness(protected)
    text += "\n" + card_text(
        wanted.owner,
        f"Telling whether {target.column.name} is {positive}, of rows like those it was trained on.",
    )
    return text


def _data_text(wanted: Wanted, judged: Sequence[Judged]) -> str:
    key = next((each for each in judged if each.role == "key"), None)
    return f"# Data.\ntrain_data_uri: {scalar(wanted.source.uri)}\n" + entries(
        [
            (f"contract: {wanted.contract}", "beside this file"),
            (
                "gdpr_class: personal",
                "decide: what is about people, or by them, is personal; else internal or public",
            ),
            (
                f"subject: {scalar(_kind_of_subject(key.name))}",
                f"decide: what {one_line(key.name)} names; erasing takes out all rows of one",
            )
            if key
            else ("subject: row", "no column tells whose a row is: each is its own subject"),
        ]
    )


def _kind_of_subject(key: str) -> str:
    """What a key names: `customer_id` names a customer."""
    words = [word for word in words_of(key) if re.fullmatch("[a-z]+", word)]
    while words and words[-1] in _IDENTIFIERS:
        words.pop()
    return "_".join(words) or "record"


def _columns_text(judged: Sequence[Judged], target: Target) -> str:
    text = comment(
        "The columns that are used, by role: key, target, numeric, categorical, {role: ordinal, order: [low, middle, high]}, "
        "time, group. {role: …, feature: false} keeps a column from the model."
    )
    text += "columns:\n" + entries(_used(judged, target), indent=2)
    if out := [each for each in judged if each.role is None]:
        text += comment("Left out; decide: to use one, write it among the others with a role.", indent=2)
        text += "".join(comment(f"{scalar(each.name)}: {each.suspicion}", indent=2) for each in out)
    return text


def _split_text(judged: Sequence[Judged]) -> str:
    time = next((one_line(each.name) for each in judged if each.role == "time"), None)
    by_time = (
        f"by: time (of {time}) where the model will judge later rows than it has learnt from; "
        if time
        else ""
    )
    draw = {"by": "rows", "test": _SET_APART, "validation": _SET_APART, "seed": 17}
    return (
        comment(
            f"decide: {by_time}by: group where rows of one household, patient or machine belong together (give that column "
            "the role group); by: blocks where rows that lie side by side do."
        )
        + f"split: {flow(draw)}\n"
    )


def _model_text(target: Target, *, few: bool) -> str:
    # A share that is rounded to 0 or 1 is no threshold.
    threshold = min(max(round(target.rate, 3), 0.001), 0.999)
    return "# Model.\n" + entries(
        [
            (
                "model: logistic",
                f"{target.column.rows:,} rows are few for gradient_boosting, which may be tried",
            )
            if few
            else (
                "model: gradient_boosting",
                "or logistic, whose coefficients can be read; it has no beats_baseline",
            ),
            (
                f"threshold: {scalar(threshold)}",
                "decide: who scores so much is predicted; here who is likelier than the average",
            ),
        ]
    )


def _used(judged: Sequence[Judged], target: Target) -> list[tuple[str, str]]:
    rows = []
    for each in judged:
        if each.role == "target":
            rows.append(
                (
                    f"{scalar(each.name)}: {flow({'role': 'target', 'positive': text_of(target.positive)})}",
                    f"positive in {percent(target.rate)}: {target.why}; decide whether it is the one that is looked for",
                )
            )
        elif each.role is not None:
            said = "; ".join(filter(None, (_told(each), each.suspicion and f"decide: {each.suspicion}")))
            rows.append((f"{scalar(each.name)}: {each.role}", said))
    return rows


def _told(judged: Judged) -> str:
    """What an ordinary column holds, in a few words."""
    column = judged.column
    missing = f", {percent(column.missing_share)} empty" if column.missing else ""
    if judged.role == "key":
        return "another value in every row" if column.is_unique else "rows of one value stay in one split"
    if judged.role == "time":
        return "no feature by itself"
    if judged.role == "numeric":
        return f"{column.least:.6g} to {column.most:.6g}{missing}"
    values = ", ".join(scalar(text_of(value)) for value, _ in column.commonest[:_MOST_SHOWN])
    return f"{values if column.distinct <= _MOST_SHOWN else f'{column.distinct} categories'}{missing}"


def _fairness(protected: Sequence[Judged]) -> str:
    groups = {
        each.name: {"column": each.name} | ({"bands": [each.column.median]} if each.role == "numeric" else {})
        for each in protected
    }
    return comment(
        "decide: to compare groups of people, and to let gates such as parity_ratio demand something of it, remove the marks."
    ) + "".join(
        f"# {line}\n"
        for line in (
            "fairness:",
            "  favourable: 0            # the predicted label that people wish for",
            f"  groups: {flow(groups)}",
        )
    )


def _domains(wanted: Wanted, judged: Sequence[Judged], target: Target) -> list[Domain]:
    key = next((each for each in judged if each.role == "key"), None)
    used = [each for each in judged if each.role not in (None, "target", "key")]
    numeric = [each for each in used if each.role == "numeric"]
    categorical = [each for each in used if each.role == "categorical"]
    subject = key.name if key else ROW_ID
    prepared = [subject, *(each.name for each in used), "label", "source", "split"]
    core = [
        Rule("expect_table_columns_to_match_ordered_list", {"column_list": prepared}),
        *(given(name) for name in (subject, "source", "split")),
    ]
    if key and key.column.is_unique:
        core.append(
            Rule(
                "expect_column_values_to_be_unique", {"column": subject}, "decide: may one have several rows?"
            )
        )
    domains = [
        Domain("core", "the shape that every later step reads.", core, wanted.owner),
        label_quality(target.rate, len(wanted.frame), wanted.owner),
        Domain(
            "ranges",
            f"numbers within what was seen and {percent(MARGIN)} of its span beyond. A few may lie outside (`mostly`): that is "
            "an odd row. Where more do, the column means something else, in another unit or code, and it stops here "
            "(critical) before a model learns it; severity warning would only tell.",
            [rule for each in numeric if (rule := _range(each.column)) is not None],
            wanted.owner,
        ),
        Domain(
            "categories",
            "the categories that were seen, and a few others at most. Decide which others may come.",
            [
                Rule(
                    "expect_column_values_to_be_in_set",
                    {
                        "column": each.name,
                        "value_set": [text_of(value) for value, _ in each.column.commonest],
                        "mostly": MOSTLY,
                    },
                )
                for each in categorical
            ],
            wanted.owner,
        ),
        Domain(
            "completeness",
            "values where there were values; half as many again may be missing, and 2 % of the rows in any case.",
            [rule for each in used if (rule := _mostly_given(each.column)) is not None],
            wanted.owner,
        ),
        volume(len(wanted.frame), wanted.owner),
    ]
    return [domain for domain in domains if domain.rules]


def _mostly_given(column: Column) -> Rule | None:
    share = share_given(column.missing_share)
    if not share:
        return None
    seen = f"{percent(column.missing_share)} are empty" if column.missing else "none is empty"
    return Rule("expect_column_values_to_not_be_null", {"column": column.name, "mostly": share}, seen)


def _range(column: Column) -> Rule | None:
    if column.least is None or column.most is None:
        return None
    low, high = bounds(column.least, column.most, whole=column.kind == "integer")
    return Rule(
        "expect_column_values_to_be_between",
        {"column": column.name, "min_value": low, "max_value": high, "mostly": MOSTLY},
        f"{column.least:.6g} to {column.most:.6g} were seen",
    )


def _typical(column: Column) -> Any:
    """A value in the middle of the column, or its most frequent one."""
    if column.median is not None:
        return int(column.median) if column.median == int(column.median) else round(column.median, 6)
    return text_of(column.commonest[0][0])
