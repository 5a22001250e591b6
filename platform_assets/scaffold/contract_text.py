"""The text of a contract, from what its domains expect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platform_assets.datasets.contract import RawType
from platform_assets.scaffold.yaml_text import comment, entries, entry, flow, scalar


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation."""

    type: str
    kwargs: Mapping[str, Any]
    said: str = ""
    """A comment beside it."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The expectations that make one check and one verdict."""

    name: str
    said: str
    """What it is about, and what to decide."""
    rules: Sequence[Rule]
    owner: str


def contract_text(
    name: str, heading: str, *, raw: Mapping[str, RawType], keys: Sequence[str], domains: Sequence[Domain]
) -> str:
    """A contract file.

    Args:
        name: Of the contract.
        heading: A comment above all.
        raw: Type by column of the source file, in its order.
        keys: Columns of it that are never empty.
        domains: Those without a rule are left out.
    """
    text = comment(heading)
    text += f"name: {name}\n\nraw:  # every source file, before anything touches it: exactly these columns, in this order\n"
    text += "  columns:\n" + entries(
        ((f"{scalar(column)}: {kind}", "") for column, kind in raw.items()), indent=4
    )
    text += entries([(f"keys: {flow(keys)}", "never empty")], indent=2)
    text += "\nexpectations:\n"
    for domain in domains:
        if not domain.rules:
            continue
        text += "\n" + comment(f"{domain.name}: {domain.said}", indent=2)
        meta = flow({"domain": domain.name, "owner": domain.owner, "severity": "critical"})
        for rule in domain.rules:
            text += entries([(f"- type: {rule.type}", rule.said)], indent=2)
            text += entry("kwargs", rule.kwargs, indent=4) + f"    meta: {meta}\n"
    return text
