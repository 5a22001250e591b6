"""The schema breaker: a dataset whose source has changed shape stays shut until somebody takes responsibility.

    closed ──violation──▶ open ──a commit that changes the contract, or a named person──▶ half-open
      ▲                    ▲                                                                  │
      └──trial passes──────┴──anything else── the next materialization is the one trial ◀─────┘

The state of a dataset is its newest `breaker` entry in the ledger; none means closed. So it holds for
every process, and across restarts. A trial is spent when it begins: the entry that begins it says
`open`, and only a pass writes `closed`, so a trial that is killed, fails or gives no verdict leaves the
breaker open. Time never closes it.

Every change of shape, refused or accepted, is a `schema_change` entry beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from platform_assets.datasets.errors import BreakerError, BreakerOpenError
from platform_assets.datasets.raw_schema import RawReport, SchemaChange, difference
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger, Writer, fingerprint_of

BREAKER, SCHEMA_CHANGE = "breaker", "schema_change"
GATE = "gate"
"""Through this it opens where too many of a source's files fail; no other shape of the table answers that."""
State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an entry says about where it comes from."""

    contract_hash: str
    """Of the contract's `raw` section."""
    contract_commit: str
    """The commit that last changed the contract file; `+dirty` where the file differs from it."""
    dagster_run_id: str
    is_later_than: Callable[[str], bool]
    """Whether `contract_commit` was made on top of an earlier one."""


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The breaker of one dataset."""

    dataset: str
    state: State
    reason: str
    by: str
    """Who brought it into this state."""
    since: datetime | None
    """None where it has been closed from the beginning."""
    via: str = ""
    """What brought it there: `GATE` where the files themselves did."""

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        return f"the schema breaker of {self.dataset} is {self.state}{since}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SeenSource:
    """One source as a materialization found it."""

    uri: str
    report: RawReport

    @property
    def passed(self) -> bool:
        """Whether its shape is as the contract states."""
        return self.report.outcome == "pass"


def breaker_state(ledger: Ledger, dataset: str) -> BreakerState:
    """The breaker of a dataset as it is now."""
    return _state_of(dataset, ledger.latest(BREAKER, dataset))


def require_closed(ledger: Ledger, dataset: str) -> None:
    """Nothing, where the dataset may be built upon.

    Raises:
        BreakerOpenError: Its breaker is open, or half-open and the trial has not passed yet.
    """
    if problem := problem_of(dataset, ledger.latest(BREAKER, dataset)):
        raise BreakerOpenError(problem)


def problem_of(dataset: str, newest: Entry | None) -> str:
    """Why nothing may be built upon a dataset, by the newest entry of its breaker; empty where it is closed."""
    found = _state_of(dataset, newest)
    return "" if found.state == "closed" else f"{found}\n  {way_out(found)}"


def half_open(ledger: Ledger, dataset: str, *, by: str, reason: str) -> BreakerState:
    """Lets one materialization try, in the name of a person.

    Raises:
        BreakerError: The breaker is not open, or nobody says who lets it be tried and why.
    """
    if not (by.strip() and reason.strip()):
        raise BreakerError(f"the schema breaker of {dataset} stays open: name who closes it, and why")
    with ledger.exclusive() as writer:
        previous = ledger.latest(BREAKER, dataset)
        found = _state_of(dataset, previous)
        if previous is None or found.state != "open":
            raise BreakerError(f"{found}; there is nothing to close")
        body = {"state": "half-open", "by": by, "reason": reason, "via": "person"}
        return _state_of(dataset, _append(writer, dataset, previous, body))


def begin(ledger: Ledger, dataset: str, circumstances: Circumstances) -> None:
    """Lets a materialization of the dataset begin; of a half-open breaker it is the trial.

    An open breaker becomes half-open here where a commit has changed the contract since.

    Raises:
        BreakerOpenError: The breaker is open.
    """
    with ledger.exclusive() as writer:
        previous = ledger.latest(BREAKER, dataset)
        found = _state_of(dataset, previous)
        if previous is None or found.state == "closed":
            return
        if found.state == "open":
            if not _changed_by_commit(previous.body, circumstances):
                raise BreakerOpenError(f"{found}\n  {way_out(found)}")
            commit = circumstances.contract_commit
            body = {"state": "half-open", "by": commit, "reason": "the contract was changed", "via": "commit"}
            previous = _append(writer, dataset, previous, body)
        trial = {"by": circumstances.dagster_run_id, "reason": "its one trial has begun and has not passed"}
        _append(
            writer, dataset, previous, {"state": "open", "via": "trial", **trial, **_origin(circumstances)}
        )


def settle(
    ledger: Ledger, dataset: str, seen: Sequence[SeenSource], circumstances: Circumstances
) -> tuple[BreakerState, bool]:
    """Records what the sources look like: opens the breaker on any violation.

    Returns:
        The state afterwards, and whether the audit table has something new. A trial is not closed here:
        `pass_trial` does that, once the whole materialization has passed.
    """
    refused = [source for source in seen if not source.passed]
    with ledger.exclusive() as writer:
        previous = ledger.latest(BREAKER, dataset)
        changed = [_note_change(ledger, writer, dataset, source, circumstances) for source in seen]
        if refused:
            reason = " ".join(f"{source.uri}: {source.report.reason}" for source in refused)
            body = {"state": "open", "by": circumstances.dagster_run_id, "reason": reason, "via": "violation"}
            previous = _append(writer, dataset, previous, body | _origin(circumstances))
        return _state_of(dataset, previous), any(changed) or bool(refused)


def trip(
    ledger: Ledger, dataset: str, reason: str, circumstances: Circumstances, *, via: str = "unreadable"
) -> BreakerState:
    """Opens the breaker for a source whose shape nobody can tell, or that is another one than before."""
    with ledger.exclusive() as writer:
        body = {"state": "open", "by": circumstances.dagster_run_id, "reason": reason, "via": via}
        opened = _append(writer, dataset, ledger.latest(BREAKER, dataset), body | _origin(circumstances))
        return _state_of(dataset, opened)


def pass_trial(ledger: Ledger, dataset: str, circumstances: Circumstances) -> bool:
    """Closes the breaker after a passed trial of this very run; tells whether there was one."""
    with ledger.exclusive() as writer:
        previous = ledger.latest(BREAKER, dataset)
        if previous is None or previous.body["state"] == "closed":
            return False
        # Another run may have found a violation meanwhile: only the trial that stands can close.
        if (previous.body["via"], previous.body["by"]) != ("trial", circumstances.dagster_run_id):
            raise BreakerOpenError(str(_state_of(dataset, previous)))
        body = {"state": "closed", "by": circumstances.dagster_run_id, "reason": "its trial passed"}
        _append(writer, dataset, previous, body | {"via": "trial"})
        return True


def _note_change(
    ledger: Ledger, writer: Writer, dataset: str, source: SeenSource, circumstances: Circumstances
) -> bool:
    """Records a refused shape, or an accepted one that differs from the one accepted before."""
    report, accepted = source.report, source.passed
    change = report.change
    if accepted:
        known = ledger.entries(kind=SCHEMA_CHANGE, subject=dataset, newest_first=True)
        last = next((entry for entry in known if entry.body["accepted"]), None)
        before = [tuple(column) for column in last.body["observed"]] if last else []
        change = difference(before, report.observed)
        if not change:
            return False
    writer.append(
        SCHEMA_CHANGE,
        dataset,
        fingerprint=fingerprint_of(
            source=source.uri,
            ge_run_id=report.ge_run_id,
            dagster_run_id=circumstances.dagster_run_id,
            accepted=accepted,
        ),
        body={
            "source": source.uri,
            **_summary(change),
            "observed": [list(column) for column in report.observed],
            "reason": report.reason,
            "accepted": accepted,
            "outcome": report.outcome,
            "ge_run_id": report.ge_run_id,
            **_origin(circumstances),
        },
    )
    return True


def _summary(change: SchemaChange) -> dict[str, Any]:
    return {
        "added": list(change.added),
        "dropped": list(change.dropped),
        "retyped": [f"{name}: {before} → {after}" for name, before, after in change.retyped],
        "reordered": change.reordered,
        "nullability": [f"{name}: {nulls} nulls" for name, nulls in change.nullability],
    }


def _origin(circumstances: Circumstances) -> dict[str, str]:
    return {
        "contract_hash": circumstances.contract_hash,
        "contract_commit": circumstances.contract_commit,
        "dagster_run_id": circumstances.dagster_run_id,
    }


def _append(writer: Writer, dataset: str, previous: Entry | None, body: Mapping[str, object]) -> Entry:
    # Keyed by the entry it succeeds, like an activation: no two can ever succeed the same one.
    return writer.append(
        BREAKER, dataset, fingerprint=previous.hash if previous else GENESIS, body=dict(body)
    )


def _state_of(dataset: str, entry: Entry | None) -> BreakerState:
    if entry is None:
        return BreakerState(dataset, "closed", "no source has ever broken its contract", "", None)
    body = entry.body
    return BreakerState(dataset, body["state"], body["reason"], body["by"], entry.time, body["via"])


def _changed_by_commit(opened: Mapping[str, Any], now: Circumstances) -> bool:
    """Whether a commit, and not an edit that nobody has signed for, has changed the contract since."""
    committed = now.contract_commit.isalnum() and now.contract_commit != "unversioned"
    return (
        committed
        and opened["via"] != GATE
        and now.contract_hash != opened["contract_hash"]
        # Taking back an edit, or checking out what was there before, is no commit either.
        and now.contract_commit != (before := opened["contract_commit"].removesuffix("+dirty"))
        and now.is_later_than(before)
    )


def way_out(found: BreakerState) -> str:
    """What a person can do about it."""
    if found.state == "half-open":
        return f"materialize {found.dataset}: that is its one trial"
    if found.via == GATE:
        return (
            "repair the source, or change what the contract asks of its files, and run: "
            f"platform-assets breaker close {found.dataset} --by NAME --reason TEXT\n"
            "  then materialize the dataset again"
        )
    return (
        f"repair the source and run: platform-assets breaker close {found.dataset} --by NAME --reason TEXT\n"
        "  or commit a change of the contract's `raw` section; then materialize the dataset again"
    )
