"""Erasure: every row of a subject leaves every version of every table and every stored table, for good.

In this order, so that a process that dies at any point can simply be started again:

1. an entry in the ledger names the versions concerned. From then on their releases are erased, their
   models must be retrained, and the subject's rows are left out of whatever is read in again;
2. tables and objects are written again without the rows, and the old files removed;
3. everything is searched again, what was written meanwhile is written again as well, and a verdict says
   what was found.

The entry is recorded under the lock that writers of objects about subjects hold (`put_unless_erased`), so
that what they put is there when everything is searched again, or is refused. The ledger knows a subject by
a salted hash alone.
"""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from platform_assets.governance.erasure_search import (
    HeldRows,
    IsAbout,
    Search,
    about_nobody,
    others,
    rows_of_others,
    search,
)
from platform_assets.governance.errors import ErasureError
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.release import ERASURE, RELEASE, Release, data_of, removed_by
from platform_assets.governance.subject_columns import parquet_of
from platform_assets.governance.subjects import Subject
from platform_assets.governance.suppression import (
    LOCK_TIMEOUT_SECONDS,
    PERSONAL_OBJECTS,
    erasures,
    salt_check,
)
from platform_assets.governance.verdict import Outcome, Verdict, record
from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from platform_assets.references import RegisteredVersion, TableSnapshot
from resources.locks import Locks
from resources.object_store import ObjectStore
from resources.provenance import code_commit
from resources.warehouse import Warehouse, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

RULE_SET = "erasure"
RETRAIN = "retrain required: it was trained on erased data"
_RULE_SET_HASH = fingerprint_of(rule="no version of a table and no object holds the subject")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What an erasure concerns."""

    namespace: str
    """Of the subject."""
    subject: str
    """Its salted hash."""
    search: Search
    releases: tuple[tuple[str, str], ...]
    """(line, release id)."""
    models: tuple[str, ...]
    """`<line>_model@<fingerprint>`."""
    earlier: tuple[Entry, ...]
    """Entries of earlier erasures of the same subject, finished or not."""

    def with_late(self, late: Self) -> Self:
        """This plan and a second one, for what was written between its search and its entry."""
        found = self.search.found + late.search.found
        return replace(
            self,
            search=replace(self.search, found=found, mentions=late.search.mentions),
            releases=tuple(dict.fromkeys(self.releases + late.releases)),
            models=tuple(dict.fromkeys(self.models + late.models)),
        )


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What an erasure did."""

    plan: ErasurePlan
    entry: Entry
    """What the ledger says of it."""
    verdict: Entry
    outcome: Outcome
    left: tuple[str, ...]
    """What still holds the subject."""


def plan_erasure(
    subject: Subject,
    *,
    ledger: Ledger,
    warehouse: Warehouse,
    store: ObjectStore,
    salt: bytes,
    is_about: IsAbout = about_nobody,
) -> ErasurePlan:
    """What erasing a subject would concern; nothing is touched.

    Args:
        subject: Who is to be erased.
        ledger: Holds releases, models and earlier erasures.
        warehouse: Searched in every version of the subject's namespace, of every table.
        store: Searched in every object.
        salt: Of the hash by which the ledger knows subjects.
        is_about: Tells of objects that are no tables; see `search`.

    Raises:
        ErasureError: Nothing holds the subject and it was never erased, nothing says that it holds rows of its
            namespace, or the salt is not that of earlier erasures.
        SubjectError: A subject column can hold no ids, or is missing.
        ResourceError: Something cannot be read, so nobody knows what it holds.
    """
    found = search(subject, warehouse, store, salt, is_about=is_about)
    plan = _planned(subject, found, ledger=ledger, warehouse=warehouse, salt=salt)
    # Who was erased before may have been in what is all gone by now.
    if subject.namespace not in found.namespaces and not (plan.earlier or found.mentions):
        known = ", ".join(sorted(found.namespaces)) or "none at all"
        raise ErasureError(
            f"no table and no object says which of its columns names a {subject.namespace}; the namespaces that are "
            f"named are: {known}. Correct the subject, or materialize the datasets with this version first"
        )
    if not (found.found or found.mentions or plan.earlier):
        raise ErasureError(
            f"no table and no object holds this {subject.namespace} ({found.versions_searched} versions and "
            f"{found.objects_searched} objects were searched), and it was never erased"
        )
    return plan


def erase(
    subject: Subject,
    *,
    by: str,
    reason: str,
    ledger: Ledger,
    warehouse: Warehouse,
    store: ObjectStore,
    locks: Locks,
    salt: bytes,
    content_hash: "Callable[[pa.Table], str]",
    environment: str,
    now: datetime,
    is_about: IsAbout = about_nobody,
) -> ErasureReport:
    """Take every row of a subject out of everything that is stored. Repeatable.

    Args:
        subject: Who is erased.
        by: Who asks for it.
        reason: Why, e.g. the number of the request.
        ledger: Gets the erasure, the objections to the models, and the verdict.
        warehouse: Loses the rows.
        store: Loses the rows.
        locks: Hold writers of objects off while the erasure is recorded.
        salt: Of the hash by which the ledger knows subjects.
        content_hash: The identity of a table's rows.
        environment: Whose objects `store` shows, for the record: objects lie by environment.
        now: The current time, with its time zone.
        is_about: Tells of objects that are no tables; see `search`.

    Raises:
        ErasureError: Nothing holds the subject and it was never erased, or something that holds it is
            under legal hold; nothing was touched.
        SubjectError: A subject column can hold no ids, or is missing; nothing was touched.
        ResourceError: Something could not be read or written; run it again.
    """
    if not (by.strip() and reason.strip()):
        raise ErasureError("an erasure names who asks for it, and why")
    plan = plan_erasure(
        subject, ledger=ledger, warehouse=warehouse, store=store, salt=salt, is_about=is_about
    )
    if plan.search.held:
        raise ErasureError(
            f"the subject cannot be erased: {', '.join(plan.search.held)} is under legal hold; nothing was touched. "
            "Whoever placed the hold must lift it first"
        )
    erasing = _Erasing(subject, by, reason, ledger, warehouse, store, locks, salt, content_hash, now)
    entry = erasing.carried_out(plan)
    again = search(subject, warehouse, store, salt, is_about=is_about)
    if again.found and not again.held:
        # Written after the first search and before the entry; nothing is, after the entry.
        late = _planned(subject, again, ledger=ledger, warehouse=warehouse, salt=salt)
        entry = erasing.carried_out(late)
        plan = plan.with_late(late)
        again = search(subject, warehouse, store, salt, is_about=is_about)
    return _verified(plan, entry, again, environment, ledger)


# --- What was made of it -------------------------------------------------------------------------------


def _planned(
    subject: Subject, found: Search, *, ledger: Ledger, warehouse: Warehouse, salt: bytes
) -> ErasurePlan:
    hashed = subject.hashed(salt)
    earlier = tuple(entry for entry in erasures(ledger, salt) if entry.subject == hashed)
    registered, released = list(_registered(ledger)), [_release_of(e) for e in ledger.entries(kind=RELEASE)]
    known = [*registered, *(each.card.registered for each in released)]
    found = replace(found, ancestors=_ancestors(known, found, warehouse))
    gone = {(version["table"], version["content_hash"]) for version in found.versions}
    gone = gone.union(*map(removed_by, earlier))
    made_of_it = [each for each in released if data_of(each.card.registered.report.model.features) & gone]
    models = [each.card.registered for each in made_of_it]
    models += [each for each in registered if data_of(each.report.model.features) & gone]
    return ErasurePlan(
        namespace=subject.namespace,
        subject=hashed,
        search=found,
        releases=tuple((each.line, each.release_id) for each in made_of_it),
        models=tuple(dict.fromkeys(map(_model_subject, models))),
        earlier=earlier,
    )


def _release_of(entry: Entry) -> Release:
    return Release.model_validate(entry.body)


def _registered(ledger: Ledger) -> Iterator[RegisteredVersion]:
    return (RegisteredVersion.model_validate(entry.body) for entry in ledger.entries(kind=LINEAGE))


def _ancestors(
    models: Sequence[RegisteredVersion], holding: Search, warehouse: Warehouse
) -> tuple[TableSnapshot, ...]:
    """The versions that models were made of, and that are today one of those found."""
    found = {(each.name, each.version.snapshot_id) for each in holding.found if each.version}
    made_of = (model.report.model.features for model in models)
    snapshots = {each for features in made_of for each in features.tables}
    older = []
    for each in snapshots - {s for s in snapshots if (s.table, s.snapshot_id) in found}:
        # A table or snapshot that is no more can have become nothing that was found.
        with suppress(WarehouseError):
            if (each.table, warehouse.left_of(each.table, each.snapshot_id)) in found:
                older.append(each)
    return tuple(sorted(older, key=lambda each: (each.table, each.snapshot_id)))


def _model_subject(registered: RegisteredVersion) -> str:
    model = registered.report.model
    return f"{model.features.dataset.line}_model@{model.version}"


# --- Acting --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Erasing:
    """One erasure at work."""

    subject: Subject
    by: str
    reason: str
    ledger: Ledger
    warehouse: Warehouse
    store: ObjectStore
    locks: Locks
    salt: bytes
    content_hash: "Callable[[pa.Table], str]"
    now: datetime

    def carried_out(self, plan: ErasurePlan) -> Entry:
        """The entry of a plan after all that it names was written again."""
        # Also where the entry is there already: who looked before it must have put what is searched for next.
        with self.locks.hold(PERSONAL_OBJECTS, timeout_seconds=LOCK_TIMEOUT_SECONDS) as held:
            held.check()
            entry = self._recorded(plan)
        log.info("recorded in entry %s", entry.seq)
        _object_to_models(self.ledger, plan, entry)
        log.info("objected to %s models", len(plan.models))
        for each in plan.search.found:
            if each.version is None:
                self._rewrite_object(each)
                log.info("object %s is written again", each.name)
        for table in dict.fromkeys(each.name for each in plan.search.found if each.version):
            self.warehouse.rewrite(
                table,
                others(self.subject.written(self.salt)),
                columns=plan.search.places.in_version,
                content_hash=self.content_hash,
            )
            log.info("table %s is written again", table)
        # Also what an earlier run that was killed had written again and not yet cleared away.
        removed = self.warehouse.sweep() + self.store.sweep()
        log.info("%s files that nothing refers to are removed", removed)
        return entry

    def _recorded(self, plan: ErasurePlan) -> Entry:
        """The entry that names all that is to be written again: an earlier one, if it does, or a new one."""
        found = plan.search
        named = set().union(*map(removed_by, plan.earlier))
        known_keys = {each["key"] for entry in plan.earlier for each in entry.body["objects"]}
        if (
            plan.earlier
            and {(version["table"], version["content_hash"]) for version in found.versions} <= named
            and {each["key"] for each in found.objects} <= known_keys
        ):
            return plan.earlier[-1]
        return self.ledger.append(
            ERASURE,
            plan.subject,
            fingerprint=fingerprint_of(
                versions=found.versions, objects=found.objects, earlier=[entry.hash for entry in plan.earlier]
            ),
            body={
                "namespace": plan.namespace,
                "by": self.by,
                "reason": self.reason,
                "versions": found.versions,
                "objects": found.objects,
                "releases": [{"line": line, "release_id": release_id} for line, release_id in plan.releases],
                "models": list(plan.models),
                "salt_check": salt_check(self.salt),
            },
        )

    def _rewrite_object(self, holding: HeldRows) -> None:
        """Put a stored table again without the subject's rows, under the same key and classification."""
        import pyarrow.parquet as pq

        # What another writer puts under this key meanwhile would be lost.
        with self.locks.hold(PERSONAL_OBJECTS, timeout_seconds=LOCK_TIMEOUT_SECONDS):
            info = self.store.info(holding.name)
            rows = pq.read_table(io.BytesIO(self.store.get(holding.name)))
            self.store.put(
                holding.name,
                parquet_of(
                    rows.filter(rows_of_others(rows.select(holding.columns), self.subject.written(self.salt)))
                ),
                gdpr_class=info.gdpr_class,
                # Its days count from now again, and end when they would have.
                retention_days=max(1, info.retention_days - (self.now - info.stored_at).days),
                source_commit=info.source_commit,
                region=info.region,
            )


def _object_to_models(ledger: Ledger, plan: ErasurePlan, entry: Entry) -> None:
    for model in plan.models:
        verdict = Verdict(
            subject=model,
            rule_set=RULE_SET,
            rule_set_hash=_RULE_SET_HASH,
            outcome="fail",
            evidence={"reason": RETRAIN, "entry": entry.hash},
            producer={"code_commit": code_commit()},
        )
        record(ledger, verdict, evaluation_id=entry.hash)


def _verified(
    plan: ErasurePlan, entry: Entry, again: Search, environment: str, ledger: Ledger
) -> ErasureReport:
    left = tuple(
        f"{each.name} ({each.rows} rows{f', version {each.version.content_hash[:12]}' if each.version else ''})"
        for each in again.found
    )
    left += again.mentions
    outcome: Outcome = "error" if left else "pass"
    verdict = Verdict(
        subject=f"{RULE_SET}@{plan.subject}",
        rule_set=RULE_SET,
        rule_set_hash=_RULE_SET_HASH,
        outcome=outcome,
        evidence={
            "entry": entry.hash,
            "environment": environment,
            "versions_written_again": sum(each.version is not None for each in plan.search.found),
            "objects_written_again": len(plan.search.objects),
            "rows_removed": sum(each.rows for each in plan.search.found),
            "releases_erased": len(plan.releases),
            "models_to_retrain": len(plan.models),
            "versions_searched": again.versions_searched,
            "objects_searched": again.objects_searched,
            "left": list(left),
        },
        producer={"code_commit": code_commit()},
    )
    recorded = record(ledger, verdict, evaluation_id=uuid4().hex)
    return ErasureReport(plan=plan, entry=entry, verdict=recorded, outcome=outcome, left=left)
