"""Versions of fitted transformers: `credit_woe@v3` is one object in the store and one entry in the ledger.

| what | where |
|---|---|
| the fitted state | `models/<env>/<name>/v<N>/fitted.json` |
| what it was fitted on, for whoever finds the object | `models/<env>/<name>/v<N>/manifest.json` |
| who fitted it, of which snapshot, on which rows | ledger entry of kind `transformer`, subject `<name>` |
| which one `credit_woe@latest` is, and the table that it published | the newest ledger entry of kind `transformer_latest`, subject `<name>` |

The entry is what makes a version: objects without one are the leftovers of a process that died, and the next version
takes their place. Numbers are given under a lock, and a data version has one number for good: who takes a change of
the spec back has the number of before again, and it is the latest.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer import FittedTransformer, kernel_version, read_fitted
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.fingerprint import canonical_sha256
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger, canonical
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TableSnapshot, TransformerVersion
from resources.object_store import GdprClass, ObjectMissingError, ObjectStore, ObjectStoreError
from resources.provenance import code_commit

KIND: Final = "transformer"
LATEST_KIND: Final = "transformer_latest"
LATEST: Final = "latest"
FITTED_FILE, MANIFEST_FILE = "fitted.json", "manifest.json"
_LOCK_SECONDS: Final = 600
_REFERENCE: Final = re.compile(r"([a-z][a-z0-9_]*)@(?:v([1-9][0-9]*)|latest)")


class LostVersionError(FeatureError):
    """What was fitted is no longer there, or is not what was recorded."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted, and on what; `record_fit` makes a version of it."""

    name: str
    fitted: FittedTransformer
    version: TransformerVersion
    """With number 0 and no object key: neither is known before it is recorded."""
    subjects: str | None
    """SHA-256 over the salted hashes of the fitted rows' subjects; None where nobody knows whose they are."""
    gdpr_class: GdprClass
    retention_days: int


def data_version(spec: TransformerSpec, input_hash: str) -> str:
    """Identity of what a transformer is once it is fitted: of its meaning, its kernel, and its input.

    Args:
        spec: Comments, layout and descriptions are no part of it.
        input_hash: Content hash of the snapshot, or SHA-256 of the file.
    """
    kernel = kernel_version(spec.transformer_type)
    return canonical_sha256({"spec": spec.normalised(), "kernel": kernel, "input": input_hash})


def split_reference(text: str) -> tuple[str, int | None]:
    """Name and number that a reference such as `credit_woe@v3` states; None for `credit_woe@latest`.

    Raises:
        FeatureError: it is no reference.
    """
    found = _REFERENCE.fullmatch(text)
    if not found:
        raise FeatureError(
            f"{text!r} names no version of a transformer; write e.g. credit_woe@v3 or credit_woe@{LATEST}"
        )
    return found[1], int(found[2]) if found[2] else None


def versions_of(ledger: Ledger, name: str) -> list[TransformerVersion]:
    """All versions of a transformer, oldest first."""
    return [_version_of(entry) for entry in ledger.entries(kind=KIND, subject=name)]


def latest_version(ledger: Ledger, name: str) -> TransformerVersion | None:
    """The version that was materialized last; None before the first.

    Raises:
        FeatureError: the ledger does not hold it.
    """
    pointer = ledger.latest(LATEST_KIND, name)
    if pointer is None:
        return None
    found = recorded(ledger, name, pointer.body["data_version"])
    if found is None:
        raise FeatureError(f"entry {pointer.seq} names a version of {name} that the ledger does not hold")
    return found


def names_of(ledger: Ledger) -> list[str]:
    """Names of all transformers that have a version, sorted."""
    return sorted({entry.subject for entry in ledger.entries(kind=KIND)})


def resolve(ledger: Ledger, reference: str) -> TransformerVersion:
    """The version that a reference names now.

    Raises:
        FeatureError: it is no reference, or there is no such version.
    """
    name, number = split_reference(reference)
    if number is None:
        latest = latest_version(ledger, name)
        if latest is None:
            raise FeatureError(f"{name} was never fitted; materialize it first")
        return latest
    known = versions_of(ledger, name)
    for each in known:
        if each.number == number:
            return each
    numbers = ", ".join(f"v{each.number}" for each in known) or "none"
    raise FeatureError(f"there is no {reference}; fitted versions of {name}: {numbers}")


def entry_of(ledger: Ledger, version: TransformerVersion) -> Entry:
    """The ledger entry of a version: who fitted it, when, on which rows, by which spec.

    Raises:
        FeatureError: the ledger has none.
    """
    entry = ledger.find(KIND, version.name, version.data_version)
    if entry is None:
        raise FeatureError(f"the ledger holds no entry of {version.label}")
    return entry


def load_fitted(store: ObjectStore, version: TransformerVersion) -> FittedTransformer:
    """The transformer as it was fitted.

    Raises:
        LostVersionError: its object is gone, or its bytes are not those that the ledger names.
        FeatureError: it is of a later format.
    """
    advice = f"materialize {version.name} again, which puts equal bytes back, or name another version"
    try:
        content = store.get(version.object_key)
    except ObjectMissingError:
        raise LostVersionError(f"{version.label}: {version.object_key} is gone; {advice}") from None
    except ObjectStoreError as problem:
        raise LostVersionError(f"{version.label}: {problem}; {advice}") from None
    if hashlib.sha256(content).hexdigest() != version.sha256:
        raise LostVersionError(
            f"{version.label}: {version.object_key} does not have the bytes that were recorded, so nothing is made with it; "
            f"{advice}"
        )
    return read_fitted(content)


def is_intact(store: ObjectStore, version: TransformerVersion) -> bool:
    """Whether the version can still be loaded."""
    try:
        load_fitted(store, version)
    except LostVersionError:
        return False
    return True


def recorded(ledger: Ledger, name: str, wanted: str) -> TransformerVersion | None:
    """The version with this data version; None where there is none yet."""
    entry = ledger.find(KIND, name, wanted)
    return None if entry is None else _version_of(entry)


def record_fit(fit: Fit, outside: OutsideSystems) -> TransformerVersion:
    """The version of what was fitted: recorded now, or the one that its data version has already.

    Its lost or altered object is put back, where what was fitted has the bytes that were recorded.

    Raises:
        LostVersionError: the data version is known, with other bytes.
        LedgerError: the ledger is damaged.
    """
    ledger, store, content = outside.ledger, outside.object_store, fit.fitted.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with outside.locks.hold(f"transformer-{fit.name}", timeout_seconds=_LOCK_SECONDS):
        if known := recorded(ledger, fit.name, fit.version.data_version):
            if known.sha256 != digest:
                raise LostVersionError(
                    f"{known.label} was fitted again by the same spec, code and rows, and came out otherwise "
                    f"({digest[:12]}, recorded is {known.sha256[:12]}): another machine or library rounds otherwise. "
                    "Name another version, or change the spec"
                )
            if not is_intact(store, known):
                _put(fit, known, content, outside)
            return known
        newest = ledger.latest(KIND, fit.name)
        number = 1 if newest is None else _version_of(newest).number + 1
        version = fit.version.model_copy(
            update={
                "number": number,
                "sha256": digest,
                "object_key": f"models/{outside.env}/{fit.name}/v{number}/{FITTED_FILE}",
                "table": None,
            }
        )
        _put(fit, version, content, outside)
        body = {
            "version": version.model_dump(mode="json"),
            "spec": fit.fitted.spec.normalised(),
            "kernel_version": kernel_version(fit.fitted.spec.transformer_type),
            "subjects": fit.subjects,
            "code_commit": code_commit(),
        }
        ledger.append(KIND, fit.name, fingerprint=version.data_version, body=body)
        return version


def make_latest(version: TransformerVersion, ledger: Ledger) -> None:
    """From now on it is what `@latest` means, with the table that it published; where it is already, nothing is recorded."""
    body: dict[str, Any] = {"data_version": version.data_version, "number": version.number}
    if version.table is not None:
        body["table"] = version.table.model_dump(mode="json")
    with ledger.exclusive() as writer:
        pointer = ledger.latest(LATEST_KIND, version.name)
        if pointer is None or pointer.body != body:
            writer.append(
                LATEST_KIND,
                version.name,
                fingerprint=pointer.hash if pointer else GENESIS,
                body=body,
            )


def recorded_table(ledger: Ledger, version: TransformerVersion) -> TableSnapshot | None:
    """The table of features that a version published last; None where it published none, or nobody recorded it."""
    for entry in ledger.entries(kind=LATEST_KIND, subject=version.name, newest_first=True):
        if entry.body["data_version"] == version.data_version and "table" in entry.body:
            return TableSnapshot.model_validate(entry.body["table"])
    return None


def _put(fit: Fit, version: TransformerVersion, content: bytes, outside: OutsideSystems) -> None:
    """The state, and then the manifest: who finds one finds both."""
    manifest = version.model_dump(mode="json", exclude={"table"}) | {
        "kernel_version": kernel_version(fit.fitted.spec.transformer_type),
        "spec": fit.fitted.spec.normalised(),
    }
    folder = version.object_key.rpartition("/")[0]
    for name, bytes_ in ((FITTED_FILE, content), (MANIFEST_FILE, canonical(manifest, "manifest"))):
        outside.object_store.put(
            f"{folder}/{name}",
            bytes_,
            gdpr_class=fit.gdpr_class,
            retention_days=fit.retention_days,
            source_commit=code_commit(),
        )


def _version_of(entry: Entry) -> TransformerVersion:
    return TransformerVersion.model_validate(entry.body["version"])


def listed(ledger: Ledger, names: Iterator[str] | list[str]) -> list[tuple[Entry, TransformerVersion]]:
    """Entries and versions of these transformers, oldest first, for whoever shows them."""
    return [
        (entry, _version_of(entry)) for name in names for entry in ledger.entries(kind=KIND, subject=name)
    ]
