"""Contracts: what a dataset promises, as expectations of Great Expectations (GE) grouped into domains.

A contract is one YAML file. Its `expectations` speak about the table that is published; its section
`raw`, where there is one, about every source file before anything touches it:

    name: transactions
    raw:
      columns: {order_id: string, amount: number}    # exactly these, in this order
      keys: [order_id]                               # never null
    expectations:
      - type: expect_column_values_to_not_be_null
        kwargs: {column: order_id}
        meta: {domain: core_transaction, owner: payments, severity: critical}

A section `dicom` is let through: it belongs to the task that has such files, which reads it by a model of its own.

GE takes about five CPU seconds to import, so a contract is read without it: the types and kwargs of
expectations are checked when `contract_run` hands them to GE.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import rfc8785
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from platform_assets.datasets.contract_values import mixed
from platform_assets.datasets.errors import ContractError
from platform_assets.manifest import Manifest, ManifestError, read_manifest

Severity = Literal["critical", "warning", "info"]
RawType = Literal["string", "integer", "number", "boolean", "timestamp"]

CONTRACTS_FOLDER: Final = Path(__file__).parent / "contracts"
"""The contracts that ship with the package."""
SCHEMA_DOMAIN: Final = "schema"
"""What the section `raw` is called where domains are named; no expectation may claim it."""
_LONGEST_INTEGER: Final = 2**53


def _canonical(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _check_width(value)
    rfc8785.dumps(_hashed(value))  # raises ValueError for what has no canonical form, such as .nan
    return value


def _check_width(value: Any) -> None:
    match value:
        case int():
            try:
                float(value)
            except OverflowError:
                raise ValueError("holds a number beyond what 64 bits hold") from None
        case dict():
            _check_width([*value.values()])
        case list():
            for each in value:
                _check_width(each)


def _hashed(value: Any) -> Any:
    """The value as it enters a hash: canonical JSON has no integers that a float cannot tell apart, such as long ids."""
    match value:
        case bool():
            return value
        case int() if abs(value) >= _LONGEST_INTEGER:
            return {"$integer": str(value)}
        case dict():
            return {key: _hashed(each) for key, each in value.items()}
        case list():
            return [_hashed(each) for each in value]
    return value


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Text = Annotated[str, Field(min_length=1)]
_Kwargs = Annotated[dict[str, JsonValue], AfterValidator(_canonical)]


class _MetaManifest(BaseModel):
    """For whom an expectation is; further keys are kept."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]
    domain: _Name
    """The domain that it belongs to: one check and one verdict."""
    owner: _Text | None = None
    """Who answers for it."""
    severity: Severity | None = None
    """As beside `type`; `critical` where neither says otherwise."""


class _ExpectationManifest(BaseModel):
    """One expectation, in the terms of Great Expectations."""

    model_config = ConfigDict(extra="forbid")
    type: str
    """Its name there, such as `expect_column_values_to_not_be_null`."""
    kwargs: _Kwargs
    """Its arguments there."""
    meta: _MetaManifest
    severity: Severity | None = None
    """Of a failure: `critical` fails the domain."""


class _RawManifest(BaseModel):
    """What every source file must look like, before anything touches it."""

    model_config = ConfigDict(extra="forbid")
    columns: Annotated[dict[_Text, RawType], Field(min_length=1)]
    """Type by column: exactly these, in this order."""
    keys: Annotated[list[str], Field(min_length=1)]
    """Columns that are never null."""


class _ContractManifest(BaseModel):
    """What a dataset promises."""

    model_config = ConfigDict(extra="forbid")
    name: _Name
    """Of the contract."""
    raw: _RawManifest | None = None
    expectations: Annotated[list[_ExpectationManifest], Field(min_length=1)]
    """What holds of the table that is published."""
    dicom: dict[str, JsonValue] | None = None
    """Rules of the gate for DICOM files; what may stand there is told by the task that has such files."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation as the contract file states it."""

    index: int
    """Position in the file, from 0."""
    type: str
    kwargs: Mapping[str, JsonValue]
    domain: str
    severity: Severity
    meta: Mapping[str, JsonValue]
    """What the file's `meta` says, the domain included and the severity left out."""
    line: int
    """Line of the file on which it begins, from 1."""

    @property
    def column(self) -> str | None:
        """The column it speaks about; None for the table as a whole and for several columns."""
        column = self.kwargs.get("column")
        return column if isinstance(column, str) else None


@dataclass(frozen=True, slots=True)
class RawSchema:
    """What every source file must look like: exactly these columns in this order, and keys never null."""

    columns: Mapping[str, RawType]
    """Type by column, in the order of the file."""
    keys: tuple[str, ...]

    @property
    def rule_set_hash(self) -> str:
        """SHA-256 (hex) over the RFC 8785 form: columns in order, keys as a set."""
        rules: dict[str, Any] = {
            "columns": [[name, kind] for name, kind in self.columns.items()],
            "keys": sorted(self.keys),
        }
        return hashlib.sha256(rfc8785.dumps(rules)).hexdigest()


@dataclass(frozen=True, slots=True)
class Contract:
    """The promises of one dataset. `load_contract` makes it."""

    name: str
    path: Path
    raw: RawSchema | None
    expectations: tuple[Expectation, ...]
    manifest: Manifest[Any] = field(repr=False, compare=False)

    @property
    def domains(self) -> tuple[str, ...]:
        """Each domain of the expectations once, in the order of first appearance."""
        return tuple(dict.fromkeys(expectation.domain for expectation in self.expectations))

    def select(self, domains: Collection[str] | None = None) -> tuple[Expectation, ...]:
        """The expectations of these domains, in file order; all of them for None.

        Raises:
            ContractError: A domain is not in the contract, or none is asked for.
        """
        wanted = self.domains if domains is None else domains
        unknown = sorted(set(wanted) - set(self.domains))
        if unknown or not wanted:
            raise ContractError(
                f"{self.path}: has no domain {', '.join(unknown) or '(none was asked for)'};"
                f" ask for some of {', '.join(self.domains)}"
            )
        return tuple(expectation for expectation in self.expectations if expectation.domain in wanted)

    @property
    def schema_hash(self) -> str:
        """The rule-set hash of the section `raw`.

        Raises:
            ContractError: The contract has no such section.
        """
        return self.require_raw().rule_set_hash

    @property
    def rule_set_hashes(self) -> dict[str, str]:
        """Hash by rule set, `contract.<domain>`: the schema's, where there is one, and every domain's."""
        schema = {f"contract.{SCHEMA_DOMAIN}": self.raw.rule_set_hash} if self.raw else {}
        return schema | {f"contract.{domain}": self.rule_set_hash(domain) for domain in self.domains}

    def require_raw(self) -> RawSchema:
        """The section `raw`.

        Raises:
            ContractError: The contract has no such section.
        """
        if self.raw is None:
            raise ContractError(
                f"{self.path}: has no section raw; state the columns and keys of every source file there"
            )
        return self.raw

    def rule_set_hash(self, domain: str) -> str:
        """SHA-256 (hex) over the RFC 8785 form of the domain's types, kwargs and severities.

        Raises:
            ContractError: The domain is not in the contract.
        """
        rules: list[Any] = [
            {"type": rule.type, "kwargs": _hashed(dict(rule.kwargs)), "severity": rule.severity}
            for rule in self.select([domain])
        ]
        return hashlib.sha256(rfc8785.dumps(rules)).hexdigest()


def find_contract(name: str, *, beside: Path) -> Path | None:
    """The contract file of this name: in the folder `beside`, else among those that ship; None where neither is."""
    return next((file for folder in (beside, CONTRACTS_FOLDER) if (file := folder / name).is_file()), None)


def load_contract(path: Path) -> Contract:
    """The contract in a YAML file.

    Raises:
        ContractError: The file is missing, is not YAML or breaks the format; the message lists every
            problem with file, line and field.
    """
    try:
        manifest = read_manifest(path, _ContractManifest)
    except ManifestError as problem:
        raise ContractError(str(problem)) from None
    if problems := [*_raw_problems(manifest), *_expectation_problems(manifest)]:
        raise ContractError("\n".join(map(str, problems)))
    content = manifest.content
    contract = Contract(
        name=content.name,
        path=path,
        raw=RawSchema(content.raw.columns, tuple(content.raw.keys)) if content.raw else None,
        expectations=tuple(
            Expectation(
                index=index,
                type=entry.type,
                kwargs=entry.kwargs,
                domain=entry.meta.domain,
                severity=entry.severity or entry.meta.severity or "critical",
                meta=entry.meta.model_dump(exclude_unset=True, exclude={"severity"}),
                line=manifest.lines["expectations", index],
            )
            for index, entry in enumerate(content.expectations)
        ),
        manifest=manifest,
    )
    if problems := [
        manifest.error(("expectations", each.index, "kwargs", *field), problem)
        for each in contract.expectations
        for field, problem in mixed(each)
    ]:
        raise ContractError("\n".join(map(str, problems)))
    return contract


def _raw_problems(manifest: Manifest[_ContractManifest]) -> list[ManifestError]:
    raw = manifest.content.raw
    if raw is None:
        return []
    known = ", ".join(raw.columns)
    return [
        manifest.error(
            ("raw", "keys", at),
            f"{key} stands twice; keep one"
            if key in raw.columns
            else f"there is no column {key}; the columns are {known}",
        )
        for at, key in enumerate(raw.keys)
        if key not in raw.columns or key in raw.keys[:at]
    ]


def _expectation_problems(manifest: Manifest[_ContractManifest]) -> list[ManifestError]:
    problems = []
    for index, entry in enumerate(manifest.content.expectations):
        if entry.meta.domain == SCHEMA_DOMAIN:
            reserved = f"{SCHEMA_DOMAIN} is the domain of the section raw; choose another name"
            problems.append(manifest.error(("expectations", index, "meta", "domain"), reserved))
        if entry.severity and entry.meta.severity and entry.severity != entry.meta.severity:
            contradiction = f"is {entry.severity} here and {entry.meta.severity} in meta; keep one"
            problems.append(manifest.error(("expectations", index, "severity"), contradiction))
    return problems
