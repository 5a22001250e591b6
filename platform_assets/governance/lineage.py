"""Walking the ledger: back from anything to its commit, data and verdicts; and a line back to a release.

Rollback moves one pointer, so the whole cone (tables, features, model, report, card, deployment) moves
at once: every reader resolves the active release and reads what it names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_assets.governance import release as releases
from platform_assets.governance.errors import LineageError
from platform_assets.governance.release import ACTIVATION, POINTERS, RELEASE, Release
from platform_assets.governance.requirements import let_through_by
from platform_assets.governance.verdict import KIND, ResolvedRequirement, unmet
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.references import (
    STAGES,
    TUNED_STAGES,
    TUNING,
    AssetReference,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    TransformerVersion,
)

LINEAGE, REGISTRATION, TRANSFORMER = "lineage", "registration", "transformer"
_SHORTEST_PREFIX = 8
"""Digits of a hash that are enough to name it."""


@dataclass(frozen=True, slots=True)
class AssetVersion:
    """One version of one asset of a line: `reviews_sentiment_dataset@47f72ea3b860`."""

    line: str
    stage: str
    version: str
    """Of a hash, its first digits are enough."""

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.line}_{self.stage}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> "AssetVersion":
        """The version that `text` names.

        Raises:
            LineageError: It does not read `<line>_<stage>@<version>`.
        """
        key, _, version = text.partition("@")
        line, _, stage = key.rpartition("_")
        if not (line and version and stage in TUNED_STAGES):
            raise LineageError(
                f"{text!r} names no version of an asset; write <line>_<stage>@<version>, "
                f"where the stage is one of {', '.join(TUNED_STAGES)}, or to trace a transformer that was fitted, <name>@v<number>"
            )
        return cls(line, stage, version)

    def is_in(self, versions: Mapping[str, str]) -> bool:
        """Whether these versions by stage include it."""
        version = versions.get(self.stage)
        if version is None:
            return False
        long_enough = len(self.version) >= _SHORTEST_PREFIX
        return version == self.version or (long_enough and version.startswith(self.version))


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback would do."""

    asked: AssetVersion
    target: Release
    current: Release | None
    changes: dict[str, tuple[str | None, str]]
    """Version now and afterwards of every stage that changes."""
    requirements: list[ResolvedRequirement]
    """The verdicts that spoke for the target when it was released; they must still stand."""
    problems: list[str]
    """Why it would be refused; empty where it would not."""


def versions_by_stage(release: Release) -> dict[str, str]:
    """The version of every asset of a release, by stage."""
    return _versions(release.card) | {"deployment": release.release_id}


def plan_rollback(
    ledger: Ledger, asked: AssetVersion, *, rules_now: Mapping[str, str], now: datetime
) -> Rollback:
    """What activating the newest release with this version would change, and whether its verdicts allow it.

    Args:
        ledger: Holds releases and verdicts.
        asked: The version to go back to.
        rules_now: Hash by rule set, as the files state the rules now. A verdict counts under these rules
            or under those of the release itself.
        now: The current time, with its time zone.

    Raises:
        LineageError: No release of the line holds the version, or several versions begin like it.
    """
    target = _release_with(ledger, asked)
    current = releases.active(ledger, asked.line)
    requirements = let_through_by(ledger, target.verdicts, rules_now)
    before, after = versions_by_stage(current) if current else {}, versions_by_stage(target)
    problems = [str(each) for each in unmet(ledger, requirements, now=now)]
    if target.release_id in releases.erased(ledger, asked.line):
        problems.insert(0, f"release {target.release_id} holds data that was erased")
    return Rollback(
        asked=asked,
        target=target,
        current=current,
        changes={
            stage: (before.get(stage), after[stage])
            for stage in TUNED_STAGES
            if stage in after and before.get(stage) != after[stage]
        },
        requirements=requirements,
        problems=problems,
    )


def roll_back(ledger: Ledger, plan: Rollback, *, reason: str, now: datetime) -> Entry:
    """The activation that makes the plan's target the active release and pins the line to it.

    Running it again changes nothing.

    Raises:
        ReleaseError: The target is erased.
        VerdictMissingError: Its verdicts do not all stand any more.
    """
    return releases.activate(
        ledger,
        plan.asked.line,
        plan.target.release_id,
        reason=f"rollback to {plan.asked.name}: {reason}",
        requirements=plan.requirements,
        pin=True,
        # Once it is unpinned, runs go on from the values that the release was made of.
        retraining=releases.retraining_of(ledger, plan.asked.line, plan.target.release_id),
        now=now,
    )


def trace(ledger: Ledger, target: str | Mapping[str, Any]) -> dict[str, Any]:
    """Everything that stands behind a prediction, a model, a release or an entry, as a JSON-like record.

    Args:
        ledger: Verified as a whole first; the record says what came of that.
        target: A prediction as `predict --json` prints it, a release id, `<line>_<stage>@<version>`,
            `<transformer>@v<number>`, `<line>/<number>` of a registered model, or an entry (`#<seq>`, or its hash from 8 digits).

    Raises:
        LineageError: Nothing in the ledger is called that.
    """
    report = ledger.verify()
    record: dict[str, Any] = {
        "target": target if isinstance(target, str) else dict(target),
        "chain": {"ok": report.ok, "entries": report.entries, "problem": report.problem},
    }
    if isinstance(target, Mapping):
        return record | _of_prediction(ledger, target)
    if release := _release_by_id(ledger, target):
        return record | _of_release(ledger, release)
    if entries := list(ledger.entries(kind=TRANSFORMER, subject=target.partition("@")[0])):
        return record | _of_transformer(ledger, _numbered(entries, target))
    if "@" in target:
        return record | _of_version(ledger, AssetVersion.parse(target))
    if "/" in target:
        return record | _of_registered(ledger, target)
    return record | _of_entry(ledger, _entry(ledger, target))


def _of_prediction(ledger: Ledger, prediction: Mapping[str, Any]) -> dict[str, Any]:
    release = _release_by_id(ledger, str(prediction.get("release_id", "")))
    if release is None or release.line != prediction.get("line"):
        raise LineageError(
            "the prediction names no release of this ledger: give one that `predict --json` printed"
        )
    if release.card.registered.number != prediction.get("model_version"):
        raise LineageError(
            f"the prediction claims version {prediction.get('model_version')}, and release {release.release_id} "
            f"serves version {release.card.registered.number}: it was altered"
        )
    return _of_release(ledger, release)


def _of_release(ledger: Ledger, release: Release) -> dict[str, Any]:
    moves = (entry for kind in POINTERS.values() for entry in ledger.entries(kind=kind, subject=release.line))
    activations = sorted(moves, key=lambda entry: entry.seq)
    recorded = filter(None, map(ledger.get, release.verdicts))
    return {
        "release": {
            "release_id": release.release_id,
            "line": release.line,
            "created_at": release.created_at,
            "erased": release.release_id in releases.erased(ledger, release.line),
            "activations": [
                _summary(entry) for entry in activations if entry.body["release_id"] == release.release_id
            ],
        },
        **_of_reference(ledger, release.card),
        "verdicts": [_summary(entry) for entry in sorted(recorded, key=lambda entry: entry.seq)],
    }


def _of_version(ledger: Ledger, asked: AssetVersion) -> dict[str, Any]:
    for release in releases.newest_releases(ledger, asked.line):
        if asked.is_in(versions_by_stage(release)):
            return _of_release(ledger, release)
    for reference in registered_versions(ledger, asked.line):
        versions = _versions(reference)
        if asked.stage in versions and asked.is_in(versions):
            return _of_reference(ledger, reference) | {"verdicts": _verdicts_on(ledger, reference)}
    raise LineageError(f"no release and no registered model of {asked.line} goes back to {asked.name}")


def _of_registered(ledger: Ledger, target: str) -> dict[str, Any]:
    line, _, number = target.removeprefix("models:/").partition("/")
    for reference in registered_versions(ledger, line):
        if str(reference.number) == number:
            return _of_version(ledger, AssetVersion(line, "model", reference.report.model.version))
    raise LineageError(f"{line} has no registered model {number}")


def _of_entry(ledger: Ledger, entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"entry": _summary(entry) | {"body": entry.body}}
    if entry.kind == TRANSFORMER:
        return found | _of_transformer(ledger, entry)
    release_id = entry.body.get("release_id")
    if release_id and (release := _release_by_id(ledger, release_id)):
        return found | _of_release(ledger, release)
    if "@" in entry.subject:
        try:
            return found | _of_version(ledger, AssetVersion.parse(entry.subject))
        except LineageError:
            # A verdict on a version that was refused: nothing was ever made of it.
            return found
    return found


def _of_transformer(ledger: Ledger, entry: Entry) -> dict[str, Any]:
    """A version of a transformer, and the releases that use it."""
    version = TransformerVersion.model_validate(entry.body["version"])
    used: dict[str, Any] = {}
    for recorded in ledger.entries(kind=RELEASE):
        release = releases.release(ledger, recorded.subject, recorded.body["release_id"])
        features = next(each for each in release.card.ancestry() if isinstance(each, FeaturesVersion))
        if any((each.name, each.number) == (version.name, version.number) for each in features.transformers):
            active = releases.active(ledger, release.line)
            used[release.release_id] = {
                "line": release.line,
                "model_version": release.card.registered.number,
                "created_at": release.created_at,
                "active": active is not None and active.release_id == release.release_id,
            }
    return {
        "transformer": fitted_on(version) | {"code_commit": entry.body.get("code_commit")},
        "entries": [_summary(entry)],
        "releases": used,
    }


def _numbered(entries: Sequence[Entry], target: str) -> Entry:
    versions = {TransformerVersion.model_validate(each.body["version"]).label: each for each in entries}
    if target not in versions:
        raise LineageError(f"{target} names no version of the transformer; there are {', '.join(versions)}")
    return versions[target]


def _of_reference(ledger: Ledger, reference: AssetReference) -> dict[str, Any]:
    ancestry = {_stage(each): each for each in reference.ancestry()}
    dataset, features = (ancestry[stage] for stage in ("dataset", "features"))
    model = _model_of(reference)
    return {
        "versions": _versions(reference),
        "commits": {"source_commit": model.source_commit, "code_commit": model.code_commit},
        **({"tuned_by": model.tuned_by.model_dump(mode="json")} if model.tuned_by else {}),
        "tables": {
            stage: each.snapshot.model_dump()  # type: ignore[attr-defined]
            for stage, each in (("dataset", dataset), ("features", features))
        },
        "transformers": {each.name: fitted_on(each) for each in features.transformers},  # type: ignore[attr-defined]
        "sources": list(reference.of_dataset.sources),
        "ge_run_id": reference.of_dataset.ge_run_id,
        "tracking_run_id": model.tracking_run_id,
        "registrations": [
            _summary(entry)
            for entry in ledger.entries(
                kind=REGISTRATION, subject=f"{reference.of_dataset.line}_model@{model.version}"
            )
        ],
    }


def fitted_on(transformer: TransformerVersion) -> dict[str, Any]:
    """Which version of a transformer it is, and what that was fitted on."""
    snapshot = transformer.snapshot
    return {
        "version": transformer.label,
        "data_version": transformer.data_version,
        "sha256": transformer.sha256,
        "fitted_on": transformer.dataset_asset or transformer.input_source,
        "snapshot": snapshot.snapshot_id if snapshot else None,
        "input_hash": transformer.input_hash,
        "fit_split": transformer.fit_split,
        "fit_rows": transformer.fit_rows,
        "object": transformer.object_key,
        **({"joined": transformer.table.model_dump()} if transformer.table else {}),
    }


def _verdicts_on(ledger: Ledger, reference: AssetReference) -> list[dict[str, Any]]:
    line = reference.of_dataset.line
    subjects = [f"{line}_{stage}@{version}" for stage, version in _versions(reference).items()]
    return [_summary(entry) for subject in subjects for entry in ledger.entries(kind=KIND, subject=subject)]


def _summary(entry: Entry) -> dict[str, Any]:
    """What a person wants to see of an entry."""
    keys = ("rule_set", "outcome", "reason", "release_id", "pinned", "number")
    evidence = entry.body.get("evidence") or {}
    return {
        "seq": entry.seq,
        "hash": entry.hash,
        "kind": entry.kind,
        "subject": entry.subject,
        "time": entry.time,
        "principal": entry.principal,
        **{key: entry.body[key] for key in keys if key in entry.body},
        **{key: evidence[key] for key in ("observed", "ge_run_id") if key in evidence},
    }


def _release_with(ledger: Ledger, asked: AssetVersion) -> Release:
    # Recorded is not served: a release whose activation was refused is nothing to go back to.
    served = {entry.body["release_id"] for entry in ledger.entries(kind=ACTIVATION, subject=asked.line)}
    known = [each for each in releases.releases(ledger, asked.line) if each.release_id in served]
    found = [release for release in known if asked.is_in(versions_by_stage(release))]
    matching = sorted({versions_by_stage(release)[asked.stage] for release in found})
    if len(matching) > 1:
        raise LineageError(f"{asked.name} may be {' or '.join(matching)}; give more digits")
    if not found:
        versions = dict.fromkeys(
            version[:12]
            for release in known
            if (version := versions_by_stage(release).get(asked.stage)) is not None
        )
        raise LineageError(
            f"no release of {asked.line} holds {asked.name}; "
            + (
                f"released were {', '.join(versions)}"
                if versions
                else f"no {asked.stage} of it was ever released"
            )
        )
    # Of several, the newest that may still be activated.
    erased = releases.erased(ledger, asked.line)
    return next((each for each in reversed(found) if each.release_id not in erased), found[-1])


def _release_by_id(ledger: Ledger, release_id: str) -> Release | None:
    for entry in ledger.entries(kind=RELEASE, fingerprint=release_id):
        return releases.release(ledger, entry.subject, release_id)
    return None


def registered_versions(ledger: Ledger, line: str) -> Iterator[RegisteredVersion]:
    """The registered models of a line, newest first."""
    prefix = f"{line}_model@"
    for entry in ledger.entries(kind=LINEAGE, newest_first=True):
        if entry.subject.startswith(prefix):
            yield RegisteredVersion.model_validate(entry.body)


def _entry(ledger: Ledger, name: str) -> Entry:
    wanted = name.removeprefix("#")
    by_number = name.startswith("#") and wanted.isdigit()
    if not by_number and len(wanted) < _SHORTEST_PREFIX:
        raise LineageError(
            f"{name!r} names nothing; give a release id, <line>_<stage>@<version>, <transformer>@v<number>, #<seq> or a hash"
        )
    found = ledger.at(int(wanted)) if by_number else ledger.get(wanted)
    if found is None and not by_number:
        found = next((entry for entry in ledger.entries() if entry.hash.startswith(wanted)), None)
    if found is not None:
        return found
    raise LineageError(f"the ledger has no release and no entry {name}")


def _model_of(reference: AssetReference) -> ModelVersion:
    return next(each for each in reference.ancestry() if isinstance(each, ModelVersion))


def _versions(reference: AssetReference) -> dict[str, str]:
    found = {_stage(each): each.version for each in reference.ancestry()}
    if tuned_by := _model_of(reference).tuned_by:
        found[TUNING] = tuned_by.tuning
    return {stage: found[stage] for stage in TUNED_STAGES if stage in found}


def _stage(reference: AssetReference) -> str:
    return next(stage for stage, kind in STAGES.items() if type(reference) is kind)
