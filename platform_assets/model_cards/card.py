"""A model card: what a registered model is for, how it was made, and what was measured about it.

`card-schema.yaml` says what a card holds and where each value comes from, `context.jsonld` what each
key means to a reader of linked data. This module fills the schema in and shows the result; a field
is added there, not here.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import rfc8785
from pydantic import BaseModel, ConfigDict

from platform_assets.manifest import read_manifest
from platform_assets.model_cards.errors import CardError
from platform_assets.references import DatasetVersion, ModelVersion, RegisteredVersion

_HERE = Path(__file__).parent
# Rounding must not turn a failed expectation into a flawless score, nor a p-value into zero.
_ALMOST_ONE, _ALMOST_ZERO = 0.9995, 0.001
_NUMERIC = frozenset({"decimal", "exact", "share", "integer", "days", "p_value"})
_FIRST = "intended_use"
"""The first section behind the head."""
_MEASURED_LAST = "bias_assessment"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIGINS = {
    "report": "the stored validation report",
    "card_texts": "the card's texts in training-spec.yaml",
    "dagster_run_id": "the Dagster run that makes the card",
    "verdict_hashes": "the ledger",
}


class CardInputs(BaseModel):
    """Everything a card is made from. Paths in card-schema.yaml start at this object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registered: RegisteredVersion
    report: dict[str, Any]
    """The stored validation report: metrics, slices, baselines, drift, gates, created_at."""
    dagster_run_id: str
    verdict_hashes: tuple[str, ...]
    """Hashes of the ledger entries that decided about this model."""
    card_texts: dict[str, str]
    """`intended_use`, `limitations` and `owner`, from the training spec."""
    source_licences: dict[str, str] = {}
    """Licence by source URI, for the sources that state one."""

    @property
    def model_id(self) -> str:
        """Name and version number in the registry."""
        return f"{self.registered.name}/{self.registered.number}"

    @property
    def model(self) -> ModelVersion:
        """The trained weights."""
        return self.registered.report.model

    @property
    def dataset(self) -> DatasetVersion:
        """The dataset that the model was trained and tested on."""
        return self.model.features.dataset

    @property
    def sources(self) -> list[dict[str, str | None]]:
        """The sources of the dataset, and of what was joined to it, with their licences, None where one states none."""
        joined = (each.input_source for each in self.model.features.transformers if each.table)
        uris = dict.fromkeys((*self.dataset.sources, *joined))
        return [{"uri": uri, "licence": self.source_licences.get(uri)} for uri in uris]

    @property
    def measured_sources(self) -> str:
        """The sources of the rows that the performance is about; empty in older reports, which took all."""
        return ", ".join(self.report.get("measured_sources") or ())

    @property
    def auc_gate(self) -> str:
        """The bound that the AUC had to keep, such as `> 0.92`; empty where there was no such gate."""
        conditions = {gate.get("rule_set"): gate.get("condition") for gate in self.report.get("gates") or ()}
        return conditions.get("gate.auc") or ""

    @property
    def data_age_days(self) -> float | None:
        """Days from the publication of the dataset to the validation of the model."""
        measured = self.report.get("created_at")
        if measured is None:
            return None
        age = _moment(measured, "report.created_at") - _moment(
            self.dataset.published_at, "dataset.published_at"
        )
        return age.total_seconds() / 86_400


class _Entry(BaseModel):
    """One section or field of the card; card-schema.yaml explains each attribute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    title: str
    part: str | None = None
    type: str | list[str] | None = None
    source: str | None = None
    value: str | list[str] | None = None
    required: bool = True
    absent: str = "not stated"
    when: str | None = None
    unless: str | None = None
    pairs: bool = False
    fields: tuple["_Entry", ...] = ()
    layout: Literal["figures", "table", "definitions", "stack"] | None = None
    format: Literal[
        "text", "decimal", "exact", "share", "integer", "days", "p_value", "yes_no", "moment", "code",
        "hash", "outcome",
    ] = "text"  # fmt: skip
    interval: tuple[str, str] | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether a column of these is set flush right: figures, unless an interval is drawn beside them."""
        return not self.interval and self.format in _NUMERIC

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> list["_Entry"]:
        """The fields that some row has, less bounds (shown beside their value) and stand-ins (`unless`)."""
        bounds = {key for field in self.fields for key in field.interval or ()}
        return [
            field
            for field in self.fields
            if field.key not in bounds and not field.unless and any(field.key in row for row in rows)
        ]


class _Schema(BaseModel):
    """The whole of card-schema.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: list[str]
    sections: tuple[_Entry, ...]

    def with_sections(self, task: "_TaskSections") -> "_Schema":
        """The schema with a task's sections: its first ones before all others, the rest behind what all cards measure."""
        start = next(i for i, each in enumerate(self.sections) if each.key == _FIRST)
        at = next(i for i, each in enumerate(self.sections, start=1) if each.key == _MEASURED_LAST)
        shared = (self.sections[:start], self.sections[start:at], self.sections[at:])
        return self.model_copy(
            update={"sections": (*shared[0], *task.first, *shared[1], *task.sections, *shared[2])}
        )


class _TaskSections(BaseModel):
    """What a task's own file adds: sections as in card-schema.yaml, and the terms of their keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: dict[str, Any] = {}
    """Terms as in context.jsonld."""
    first: tuple[_Entry, ...] = ()
    """What a reader must know before anything else."""
    sections: tuple[_Entry, ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """A card is its bytes: canonical JSON-LD (RFC 8785) with the context embedded."""

    json_ld: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON-LD document, parsed anew on each call."""
        document: dict[str, Any] = json.loads(self.json_ld)
        return document

    @property
    def sha256(self) -> str:
        """SHA-256 over the bytes, in hex: the card's data version."""
        return hashlib.sha256(self.json_ld).hexdigest()


def build_card(inputs: CardInputs, task_sections: Path | None = None) -> ModelCard:
    """The card of one registered model. Equal inputs give equal bytes.

    Args:
        inputs: What it is made from.
        task_sections: YAML file of the sections that only models of this task have.

    Raises:
        CardError: a required field has no value, or a value cannot stand in a card.
    """
    model, schema = inputs.model, _schema(task_sections)
    document = {
        "@context": json.loads((_HERE / "context.jsonld").read_bytes())["@context"]
        | _task_sections(task_sections).context,
        "@id": f"urn:platform-assets:model:{quote(inputs.registered.name, safe='')}:{model.fingerprint}",
        "@type": schema.type,
        **_fill(schema.sections, inputs),
    }
    try:
        return ModelCard(rfc8785.dumps(document))
    except rfc8785.CanonicalizationError as error:
        raise CardError(
            f"the card of {inputs.model_id} cannot be written as canonical JSON: {error}"
        ) from error


def render_html(
    card: ModelCard, *, pictures: Mapping[str, bytes] | None = None, task_sections: Path | None = None
) -> str:
    """One self-contained page: no script, no external request, light and dark.

    Args:
        card: The card, built just now or read back from the object store.
        pictures: PNG files by caption, shown in this order.
        task_sections: As the card was built with.

    Raises:
        CardError: a picture is not a PNG file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    for caption, picture in (pictures or {}).items():
        if not picture.startswith(_PNG_SIGNATURE):
            raise CardError(f"the picture {caption!r} of the model card is not a PNG file: save it as PNG")
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = _shown
    return environment.get_template("card.html.j2").render(
        card=card.document,
        card_sha256=card.sha256,
        sections={section.key: section for section in _schema(task_sections).sections},
        pictures={
            caption: base64.b64encode(picture).decode() for caption, picture in (pictures or {}).items()
        },
    )


@cache
def layout_sha256(task_sections: Path | None) -> str:
    """Hash of the files that say what a card holds and how it is shown."""
    files = (
        _HERE / "card-schema.yaml",
        _HERE / "context.jsonld",
        _HERE / "templates" / "card.html.j2",
        task_sections,
    )
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file)).hexdigest()


@cache
def _schema(task_sections: Path | None) -> _Schema:
    shared = read_manifest(_HERE / "card-schema.yaml", _Schema).content
    return shared.with_sections(_task_sections(task_sections))


@cache
def _task_sections(file: Path | None) -> _TaskSections:
    if file is None:
        return _TaskSections()
    return read_manifest(file, _TaskSections).content


def _fill(entries: Sequence[_Entry], scope: Any, *, where: str = "", origin: str = "") -> dict[str, Any]:
    """The values of `entries` by key; `where` and `origin` name this node in the card and in the inputs."""
    return {
        entry.key: _value(entry, scope, where=where + entry.key, origin=origin)
        for entry in entries
        if not (entry.when and _is_missing(_look_up(scope, entry.when)))
        if not (entry.unless and not _is_missing(_look_up(scope, entry.unless)))
    }


def _value(entry: _Entry, scope: Any, *, where: str, origin: str) -> Any:
    if entry.value is not None:
        return entry.value
    found = scope
    if entry.source:
        found = _look_up(scope, entry.source)
        origin += entry.source
    if _is_missing(found):
        if not entry.required:
            return entry.absent
        holder = _ORIGINS.get(origin.partition(".")[0].partition("[")[0], "the registered version's lineage")
        raise CardError(
            f"model card field {where} has no value: it should have come from {origin} ({holder}). "
            "Supply it there and make the card again."
        )
    if entry.pairs:
        found = [{"name": name, "value": value} for name, value in sorted(found.items())]
    if not entry.fields:
        return _plain(found, where=where, origin=origin)
    if isinstance(found, list):
        return [
            _node(entry, item, where=f"{where}[{i}].", origin=f"{origin}[{i}].")
            for i, item in enumerate(found)
        ]
    return _node(entry, found, where=f"{where}.", origin=f"{origin}." if entry.source else origin)


def _node(entry: _Entry, scope: Any, *, where: str, origin: str) -> dict[str, Any]:
    return {"@type": entry.type, **_fill(entry.fields, scope, where=where, origin=origin)}


def _plain(found: Any, *, where: str, origin: str) -> Any:
    if isinstance(found, tuple | list) and all(isinstance(each, str | int | float) for each in found):
        return list(found)
    if not isinstance(found, str | int | float):
        raise CardError(
            f"model card field {where} needs one value, but {origin} holds a {type(found).__name__}. "
            "Describe its parts as fields in card-schema.yaml."
        )
    return found


def _look_up(scope: Any, path: str) -> Any:
    for name in path.split("."):
        scope = scope.get(name) if isinstance(scope, Mapping) else getattr(scope, name, None)
    return scope


def _is_missing(value: Any) -> bool:
    """Whether a value says nothing: None, empty, blank, NaN or infinite. Zero and False do say something."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is None or (isinstance(value, Mapping | list | tuple) and not value)


def _moment(text: str, origin: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise CardError(f"{origin} must be an ISO 8601 time, but is {text!r}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _shown(value: Any, entry: _Entry) -> str:
    """`value` as the page shows it. Text in a field of numbers says why there is no number."""
    match entry.format, value:
        case "yes_no", bool():
            return "yes" if value else "no"
        case "moment", str():
            return f"{_moment(value, entry.key).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        case _, bool() | str():
            return str(value)
        case "decimal", _:
            return f"{value:.3f}"
        case "share", _:
            return "> 99.9 %" if _ALMOST_ONE <= value < 1 else f"{100 * value:.1f} %"
        case "integer", _:
            return f"{value:,}"
        case "days", _:
            return f"{value:.1f} days"
        case "p_value", _:
            return "< 0.001" if value < _ALMOST_ZERO else f"{value:.3f}"
        case _:
            return f"{value:.6g}" if isinstance(value, float) else str(value)
