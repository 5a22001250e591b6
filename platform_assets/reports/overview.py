"""What an operator wants to see in the morning, read from the ledger: each line, what ails it, and what to open.

Whether a line is blocked is decided here as the deployment would decide it, from entries that a verified chain vouches
for, with one reading for all lines. The rest is only shown. Of the store nothing is needed but which card and picture
there are; where it is away, the rest is shown all the same.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Lock
from time import monotonic
from typing import Final, Literal, TypeVar

from platform_assets.datasets.contract import SCHEMA_DOMAIN
from platform_assets.datasets.data_docs import data_docs_key
from platform_assets.datasets.ingestion import HoldsBack
from platform_assets.datasets.judging import ALONE
from platform_assets.datasets.quarantine_cases import read_quarantine
from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.drift.alarms import ALARM, CONFIRMED, State
from platform_assets.drift.record import newest_changes, onsets
from platform_assets.drift.segments import newest_picture_key
from platform_assets.governance import release as releases
from platform_assets.governance import verdict as verdicts
from platform_assets.governance.errors import GovernanceError, VerdictMissingError
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.promotion import sha256_of_stored
from platform_assets.governance.reviewers import read_reviewers
from platform_assets.governance.verdict import ResolvedRequirement
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.line import BrokenLine, Line, LineError, Lines
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import CardVersion, RegisteredVersion
from platform_assets.reports.promoted import PromotionView, promotion_view
from resources.errors import PlatformError
from resources.object_store import ObjectStore, ObjectStoreError
from resources.outages import OutageError, outage_of
from resources.policed_object_store import AccessDeniedError
from resources.warehouse import Warehouse

T = TypeVar("T")
Tone = Literal["bad", "warn", "good"]
_TONES: Final[tuple[Tone, ...]] = ("bad", "warn", "good")
_FRESH_SECONDS: Final = 3.0
"""So long one reading serves everybody."""
_LINES_SECONDS: Final = 60.0
"""Specs are read again so often."""
_SHOWN_RELEASES: Final = 50


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is to be known of a line."""

    tone: Tone
    name: str
    """In a word or two."""
    told: str = ""
    """In a sentence."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The newest verdict on a demand."""

    rule_set: str
    outcome: str
    told: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """A column that is not as the reference says it should be."""

    column: str
    state: str
    since: datetime
    """When it left `clear`."""


@dataclass(frozen=True, slots=True)
class ShownRelease:
    """A release, as far as people look at it."""

    release_id: str
    number: int
    made_at: datetime | None
    is_active: bool
    activated: tuple[datetime, str, str] | None
    """When it was last activated, by whom and why; None where it never was."""
    card_key: str
    report_key: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A stored picture."""

    caption: str
    key: str


@dataclass(frozen=True)
class LineView:
    """All that the pages tell of a line."""

    name: str
    task: str
    description: str
    owner: str
    conditions: tuple[Condition, ...]
    """What ails it, the worst first; `healthy` alone where nothing does."""
    active: ShownRelease | None = None
    releases: tuple[ShownRelease, ...] = ()
    """The newest first."""
    newest: RegisteredVersion | None = None
    """The version that was registered last."""
    registered_at: datetime | None = None
    judgements: tuple[Judgement, ...] = ()
    drift: tuple[Change, ...] = ()
    contract: tuple[str, datetime] | None = None
    """Outcome of the last contract run, and when."""
    card_key: str | None = None
    docs_key: str | None = None
    pictures: tuple[Picture, ...] = ()
    sheet_key: str | None = None
    """Of the images of single rows in the newest version's report; None where there are none."""
    drift_picture: Picture | None = None
    decided_by: str | None = None
    """The group that decides about files that it holds back; None where it holds none back."""
    promotion: PromotionView | None = None
    """None of a line whose deployments go to production."""

    @property
    def tone(self) -> Tone:
        """Of the worst that is to be known."""
        return self.conditions[0].tone

    @property
    def report_key(self) -> str | None:
        """The report on the newest version."""
        return self.newest.report.report_key if self.newest else None


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger itself."""

    entries: int
    head: str
    newest_at: datetime | None
    problem: str | None
    """Why it cannot be relied upon; None where its chain holds."""


@dataclass(frozen=True)
class Overview:
    """Everything, at one moment."""

    at: datetime
    env: str
    principal: str
    lines: tuple[LineView, ...]
    """Those that need somebody first."""
    broken: tuple[BrokenLine, ...]
    ledger: LedgerView
    store_problem: str | None = None

    def line(self, name: str) -> LineView | None:
        """The line with this name."""
        return next((each for each in self.lines if each.name == name), None)

    @property
    def alarms(self) -> list[tuple[LineView, Change]]:
        """Every column of every line that is not clear."""
        return [(line, change) for line in self.lines for change in line.drift]


@dataclass
class _Told:
    """What the ledger tells of a line by subjects that do not name it alone."""

    registered: Entry | None = None
    contract: Entry | None = None
    """Newest verdict of any domain of its contract on the rows that were materialized last, published or not."""
    docs: Entry | None = None
    """Newest one of a domain that Data Docs of the whole contract were made with."""


class Overviews:
    """Overviews of a platform, each read at most every few seconds. May be shared among threads."""

    def __init__(
        self,
        outside: OutsideSystems,
        load: Callable[[], Lines],
        *,
        fresh_seconds: float = _FRESH_SECONDS,
    ) -> None:
        """Reads nothing yet.

        Args:
            outside: The systems.
            load: Gives the lines as their specs are now.
            fresh_seconds: So long one overview serves everybody.
        """
        self._outside, self._load, self._fresh_seconds = outside, load, fresh_seconds
        self._follower: Follower[dict[str, _Told]] = Follower([LINEAGE, verdicts.KIND], dict, _take)
        self._turn = Lock()
        self._lines: tuple[float, Lines] | None = None
        self._overview: tuple[float, Overview] | None = None

    def current(self) -> Overview:
        """What there is to be known now, or was a few seconds ago.

        Raises:
            LedgerError: The ledger cannot be read.
            OutageError: Its database does not answer.
        """
        with self._turn:
            if self._overview is None or monotonic() - self._overview[0] >= self._fresh_seconds:
                read = self._read()
                self._overview = (monotonic(), read)
            return self._overview[1]

    def _read(self) -> Overview:
        if self._lines is None or monotonic() - self._lines[0] >= _LINES_SECONDS:
            self._lines = (monotonic(), self._load())
        lines, ledger, now = self._lines[1], self._outside.ledger, datetime.now(UTC)
        told, tail = self._follower.look(ledger), ledger.tail()
        sound, stuck = _adapted(lines.sound, ledger)
        newest = {
            line.name: RegisteredVersion.model_validate(entry.body)
            for line in sound
            if (entry := told.get(line.name, _Told()).registered)
        }
        demands = {
            line.name: line.demands.of(newest[line.name].report.model)
            for line in sound
            if line.name in newest
        }
        known, problem = _established(ledger, demands.values())
        looking = _Looking(self._outside.object_store, self._outside.warehouse, self._outside.env)
        views = [
            _view(
                line,
                ledger,
                told.get(line.name, _Told()),
                newest.get(line.name),
                demands.get(line.name, []),
                known,
                looking,
                self._promotion(line, looking, now=now),
                now=now,
            )
            for line in sound
        ]
        last = ledger.at(tail.count) if tail.count else None
        return Overview(
            at=now,
            env=self._outside.env,
            principal=self._outside.principal,
            lines=tuple(sorted(views, key=lambda view: (_TONES.index(view.tone), view.name))),
            broken=(*lines.broken, *stuck),
            ledger=LedgerView(tail.count, tail.hash, last.time if last else None, problem),
            store_problem=looking.problem,
        )

    def _promotion(self, line: Line, looking: "_Looking", *, now: datetime) -> PromotionView | None:
        if line.promotion is None:
            return None
        settings, ledger = self._outside.settings, self._outside.ledger
        staged = releases.active(ledger, line.name, "staging")
        return promotion_view(
            ledger,
            line.name,
            line.promotion,
            read_reviewers(settings.reviewers),
            stored_card=looking.stored_card(staged.card) if staged else None,
            notice=timedelta(days=settings.review_notice_days),
            now=now,
        )


def _take(found: dict[str, _Told], entry: Entry) -> None:
    asset, _, _ = entry.subject.partition("@")
    line, _, stage = asset.rpartition("_")
    if entry.kind == LINEAGE:
        found.setdefault(line, _Told()).registered = entry
    elif stage == "dataset" and (rule_set := str(entry.body.get("rule_set"))).startswith("contract."):
        told = found.setdefault(line, _Told())
        alone = bool((entry.body.get("producer") or {}).get(ALONE))
        # A check by itself may look at an older version, of which nothing new is told then.
        if alone and (told.contract is None or told.contract.subject != entry.subject):
            return
        told.contract = entry
        if not alone and rule_set != f"contract.{SCHEMA_DOMAIN}":
            told.docs = entry


def _adapted(lines: Iterable[Line], ledger: Ledger) -> tuple[list[Line], list[BrokenLine]]:
    sound, stuck = [], []
    for line in lines:
        try:
            sound.append(line.adapted(ledger))
        except LineError as problem:
            stuck.append(BrokenLine(line.manifest.path, line.name, str(problem)))
    return sound, stuck


def _established(
    ledger: Ledger, demands: Iterable[Sequence[ResolvedRequirement]]
) -> tuple[Mapping[Key, Entry] | None, str | None]:
    """What verdicts there are, from a chain that was verified; or why there is none that could be relied upon."""
    keys = {key for each in demands if each for key in verdicts.keys_of_demand(each)}
    try:
        return ledger.established(keys), None
    except LedgerError as problem:
        return None, str(problem)


def _view(
    line: Line,
    ledger: Ledger,
    told: _Told,
    newest: RegisteredVersion | None,
    demands: Sequence[ResolvedRequirement],
    known: Mapping[Key, Entry] | None,
    looking: "_Looking",
    promotion: PromotionView | None,
    *,
    now: datetime,
) -> LineView:
    ingestion = line.task.ingestion
    decided_by = ingestion.released_by(line.spec) if isinstance(ingestion, HoldsBack) else None
    shown = _releases(ledger, line.name)
    active = next((each for each in shown if each.is_active), None)
    drift = _drift(ledger, line.name)
    contract = _contract(ledger, told.contract, line.contract.rule_set_hashes)
    conditions = [
        *_of_breaker(ledger, line.name),
        *_of_demands(line.name, newest, demands, known, now=now),
        *_of_contract(contract),
        *_of_drift(drift),
        *_of_pin(ledger, line.name),
        *(_of_quarantine(looking.warehouse, ledger, line.name) if decided_by else ()),
        *_of_promotion(promotion),
        *([] if active else [_not_released(promotion)]),
    ]
    conditions.sort(key=lambda each: _TONES.index(each.tone))
    pictures: tuple[Picture, ...] = ()
    if newest is not None:
        folder = newest.report.report_key.rpartition("/")[0]
        pictures = tuple(
            Picture(name.replace("-", " "), f"{folder}/{name}.png") for name in newest.report.pictures
        )
    return LineView(
        name=line.name,
        task=line.task.name,
        description=line.spec.description or line.spec.card.intended_use,
        owner=line.spec.card.owner,
        conditions=tuple(conditions) or (Condition("good", "healthy"),),
        active=active,
        releases=shown,
        newest=newest,
        registered_at=told.registered.time if told.registered else None,
        judgements=tuple(_judgements(demands, known or {})),
        drift=drift,
        contract=contract,
        card_key=looking.newest_card(line.name, newest) or (active.card_key if active else None),
        docs_key=_docs_key(looking.env, line.name, told.docs),
        pictures=pictures,
        sheet_key=newest.report.sheet_key if newest else None,
        drift_picture=looking.drift_picture(line.name),
        decided_by=decided_by,
        promotion=promotion,
    )


def _releases(ledger: Ledger, line: str) -> tuple[ShownRelease, ...]:
    activated: dict[str, Entry] = {}
    activations = list(
        islice(ledger.entries(kind=releases.ACTIVATION, subject=line, newest_first=True), _SHOWN_RELEASES)
    )
    for entry in activations:
        activated.setdefault(entry.body["release_id"], entry)
    active_id = activations[0].body["release_id"] if activations else None
    found = list(islice(releases.newest_releases(ledger, line), _SHOWN_RELEASES))
    if active_id and all(each.release_id != active_id for each in found):
        found.append(releases.release(ledger, line, active_id))  # one that somebody has gone back to
    shown = []
    for each in found:
        last = activated.get(each.release_id)
        shown.append(
            ShownRelease(
                release_id=each.release_id,
                number=each.card.registered.number,
                made_at=each.created_at,
                is_active=each.release_id == active_id,
                activated=(last.time, last.principal, last.body["reason"]) if last else None,
                card_key=each.card.html_key,
                report_key=each.card.registered.report.report_key,
            )
        )
    return tuple(shown)


def _drift(ledger: Ledger, line: str) -> tuple[Change, ...]:
    newest = newest_changes(ledger, line)
    return tuple(
        Change(column, newest[column].body["state"], onset.time)
        for column, onset in sorted(onsets(ledger, line).items())
    )


def _contract(
    ledger: Ledger, newest: Entry | None, rule_sets: Collection[str]
) -> tuple[str, datetime] | None:
    """How the contract came out on the newest rows: the worst that its domains were found to be last."""
    if newest is None:
        return None
    entries = ledger.entries(kind=verdicts.KIND, subject=newest.subject)
    outcomes = {
        rule_set: entry.body["outcome"]
        for entry in entries
        if (rule_set := entry.body["rule_set"]) in rule_sets
    }
    worst = next((each for each in ("error", "fail", "waived") if each in outcomes.values()), "pass")
    return worst, newest.time


def _docs_key(env: str, line: str, newest: Entry | None) -> str | None:
    """Where the page of the newest contract run lies that came to its rows."""
    if newest is None:
        return None
    run_id = str(newest.body.get("evaluation_id", "")).partition("/")[0]
    return data_docs_key(env, line, content_hash=newest.subject.partition("@")[2], run_id=run_id)


def _judgements(demands: Sequence[ResolvedRequirement], known: Mapping[Key, Entry]) -> Iterator[Judgement]:
    for each in demands:
        rule_set = each.requirement.rule_set
        entry = known.get(Key(verdicts.KIND, each.subject, "rule_set", rule_set))
        if entry is None:
            yield Judgement(rule_set, "missing", "", None)
            continue
        evidence, waiver = entry.body.get("evidence") or {}, entry.body.get("waiver")
        told = evidence.get("reason") or evidence.get("observed") or ""
        if waiver:
            told = f"waived by {waiver['by']}: {waiver['reason']}"
        yield Judgement(rule_set, str(entry.body["outcome"]), str(told), entry.time)


def _of_breaker(ledger: Ledger, line: str) -> Iterator[Condition]:
    found = breaker_state(ledger, f"{line}_dataset")
    if found.state != "closed":
        yield Condition("bad" if found.state == "open" else "warn", f"breaker {found.state}", found.reason)


def _of_demands(
    line: str,
    newest: RegisteredVersion | None,
    demands: Sequence[ResolvedRequirement],
    known: Mapping[Key, Entry] | None,
    *,
    now: datetime,
) -> Iterator[Condition]:
    if newest is None:
        yield Condition("warn", "no model", f"It was never run: platform-assets run {line}")
        return
    if known is None:
        yield Condition("bad", "blocked", "The ledger is damaged, so no verdict in it counts.")
        return
    try:
        verdicts.allowing(f"deploy of {line}", demands, known, now=now)
    except VerdictMissingError as problem:
        for each in problem.unmet:
            yield Condition("bad", "blocked", f"Version {newest.number}: {each}")
    except GovernanceError as problem:
        yield Condition("bad", "blocked", str(problem))


def _of_contract(contract: tuple[str, datetime] | None) -> Iterator[Condition]:
    told = {
        "fail": ("contract refused", "The contract has refused the newest rows"),
        "error": ("contract not judged", "The contract could not judge the newest rows"),
    }
    if contract is not None and contract[0] in told:
        name, sentence = told[contract[0]]
        yield Condition("bad", name, f"{sentence}; the last published version stays current.")


def _of_drift(drift: Sequence[Change]) -> Iterator[Condition]:
    names: dict[State, tuple[Tone, str]] = {
        CONFIRMED: ("bad", "drift confirmed"),
        ALARM: ("warn", "drift alarm"),
    }
    for state, (tone, name) in names.items():
        if columns := [
            f"{each.column} since {each.since:%Y-%m-%d %H:%M} UTC" for each in drift if each.state == state
        ]:
            yield Condition(tone, name, f"{', '.join(columns)}.")


def _of_pin(ledger: Ledger, line: str) -> Iterator[Condition]:
    if pin := releases.pin_state(ledger, line):
        yield Condition("warn", "pinned", f"To release {pin.release_id} by {pin.by}: {pin.reason}")


def _of_promotion(promotion: PromotionView | None) -> Iterator[Condition]:
    for each in promotion.requests if promotion else ():
        yield Condition("warn", "review wanted", f"By {' and '.join(each.roles)}: {each.why}.")


def _not_released(promotion: PromotionView | None) -> Condition:
    staged = promotion.staging if promotion else None
    if staged is None:
        return Condition("warn", "not released", "No release of it was ever activated.")
    return Condition(
        "warn", "not in production", f"Version {staged.number} is in staging, and none was ever promoted."
    )


def _of_quarantine(warehouse: Warehouse, ledger: Ledger, line: str) -> Iterator[Condition]:
    try:
        waiting = read_quarantine(warehouse, ledger, line).by_state["waiting"]
    except Exception as problem:
        outage = outage_of(problem) or problem
        if not isinstance(outage, PlatformError):
            raise
        yield Condition("warn", "quarantine not read", str(outage))
        return
    if waiting:
        told = "1 file waits" if waiting == 1 else f"{waiting} files wait"
        yield Condition("warn", told, "Somebody has to let them in, or keep them out.")


@dataclass
class _Looking:
    """Looks for what only the store knows; once it does not answer, nobody waits for it again."""

    store: ObjectStore
    warehouse: Warehouse
    env: str
    problem: str | None = field(default=None)

    def newest_card(self, line: str, newest: RegisteredVersion | None) -> str | None:
        """The newest card of a version, in HTML."""
        if newest is None:
            return None

        def look() -> str | None:
            cards = [
                key
                for key in self.store.list(f"cards/{self.env}/{line}/{newest.number}")
                if key.endswith(".html")
            ]
            return max(cards, key=lambda key: self.store.info(key).stored_at, default=None)

        return self._answer(look)

    def stored_card(self, card: CardVersion) -> str | None:
        """SHA-256 of a card as it is stored; what it should be where the store does not say."""
        found = self._answer(lambda: (sha256_of_stored(self.store, card),))
        return found[0] if found else card.card_sha256

    def drift_picture(self, line: str) -> Picture | None:
        """The newest day's picture."""
        key = newest_picture_key(self.env, line)

        def look() -> Picture | None:
            return Picture(f"drift of {line}", key) if self.store.exists(key) else None

        return self._answer(look)

    def _answer(self, look: Callable[[], T | None]) -> T | None:
        if self.problem is not None:
            return None
        try:
            return look()
        except AccessDeniedError:
            return None
        except ObjectStoreError as problem:
            self.problem = str(problem)
        except OSError as problem:
            self.problem = f"the object store cannot be read: {problem.strerror}"
        except Exception as problem:
            outage = outage_of(problem)
            if not isinstance(outage, OutageError):
                raise
            self.problem = str(outage)
        return None
