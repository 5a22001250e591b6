"""Who is asked to review what, and when nobody is."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from platform_assets.drift.record import KIND as DRIFT
from platform_assets.governance.promotion_assets import promotions_materialization
from platform_assets.governance.release import Release
from platform_assets.governance.review_requests import REVIEW_REQUEST, noticed, open_requests
from platform_assets.ledger.ledger import Entry, Ledger
from resources.settings import PlatformSettings
from sensors import definitions
from sensors.definitions import review_sensor
from sensors.promotion import Served, Staged, reviews_wanted
from tests.ledger.conftest import Clock
from tests.outside import outside_with
from tests.promoting import DEMANDS, KAY, LEE, LINE, Desk, version

DAY = timedelta(days=1)
NOTICE = 7 * DAY


@pytest.fixture
def clock() -> Clock:
    """Moves when a test says so."""
    return Clock()


@pytest.fixture
def desk(tmp_path, clock: Clock) -> Desk:
    """Where versions are staged, reviewed and promoted."""
    return Desk(Ledger.open(tmp_path / "ledger.db", principal="runner", clock=clock), lambda: clock.time)


def release(number: int = 2) -> Release:
    """A version that is never recorded."""
    return Release(line=LINE, card=version(number), deployment={}, verdicts=("v",))


def entry(seq: int, **body: Any) -> Entry:
    """An entry with this number."""
    return Entry(seq, f"{seq:064x}", "k", "s", "f", b"", "", Clock().time, "p", body)


def drifted(seq: int, column: str = "exposure", number: int = 2) -> Entry:
    """A confirmed change that a version has seen."""
    return entry(seq, column=column, model_version=number)


@pytest.mark.parametrize(
    ("staged", "served", "causes", "reason"),
    [
        (None, None, [], "nothing is in staging"),
        (Staged(release(), lacks=["gate.auc failed"]), None, [], "not complete: gate.auc failed"),
        (Staged(release(), lacks=["gate.auc failed"], gaps=["no review"]), None, [], "not complete"),
        (Staged(release()), None, [], "lacks no review"),
        (Staged(release(), gaps=["no review"]), None, ["staging"], ""),
        (None, Served(release()), [], "nothing is in staging"),
        (None, Served(release(), drift=[drifted(9)]), ["drift"], ""),
        (None, Served(release(), drift=[drifted(9, number=1)]), [], "nothing is in staging"),
        (None, Served(release(), drift=[drifted(9)], reviews=[entry(8)]), ["drift"], ""),
        (None, Served(release(), drift=[drifted(9)], reviews=[entry(10)]), [], "was reviewed since"),
        (None, Served(release(), gaps=["expired"]), ["expiry"], ""),
        (None, Served(release(), gaps=["expired"], was_reviewed=False), [], "without reviews"),
        (None, Served(release(), gaps=["rejected"], is_objected_to=True), [], "somebody objects"),
        (
            Staged(release(3), gaps=["no review"]),
            Served(release(), drift=[drifted(9)], gaps=["expired"]),
            ["staging", "drift", "expiry"],
            "",
        ),
    ],
)
def test_what_is_asked_for(staged, served, causes, reason):
    """A review of what lacks it alone, of what drifts, and of what ends; else it is told why there is none."""
    found = reviews_wanted(["radiologist"], staged, served)

    assert [each.cause for each in found.requests] == causes
    assert reason in "\n".join(found.reasons)
    assert all(each.roles == ("radiologist",) for each in found.requests)


def test_a_line_without_reviews_asks_nobody():
    """Its promotion may demand verdicts alone."""
    found = reviews_wanted([], Staged(release(), gaps=["x"]), Served(release(), gaps=["x"]))

    assert found.requests == ()
    assert found.reasons == ("its promotion asks for no reviews",)


def test_the_newest_change_and_the_reviews_there_are_call_for_a_request_each():
    """Further drift, and another review, are reasons to ask again; the same ones are not."""

    def keys(**served: Any) -> list[str]:
        return [
            each.fingerprint for each in reviews_wanted(["r"], None, Served(release(), **served)).requests
        ]

    assert (
        keys(drift=[drifted(9)]) == keys(drift=[drifted(9)]) != keys(drift=[drifted(9), drifted(11, "age")])
    )
    ends = {"gaps": ["expired"]}
    assert keys(**ends, reviews=[entry(5)]) == keys(gaps=["in two days"], reviews=[entry(5)])
    assert keys(**ends, reviews=[entry(5)]) != keys(**ends, reviews=[entry(6)])


def test_who_has_just_reviewed_is_not_asked_again():
    """Reviews that count for ten days end in less than seven all the time: a quarter of them is enough."""
    assert noticed(DEMANDS, NOTICE) == NOTICE
    short = replace(DEMANDS, reviews=(DEMANDS.reviews[0].model_copy(update={"max_age_days": 10}),))
    assert noticed(short, NOTICE) == 2.5 * DAY
    assert noticed(replace(DEMANDS, reviews=()), NOTICE) == NOTICE


# --- The sensor ------------------------------------------------------------------------------------


class PromotedLine:
    """A line, as far as the sensor looks at it."""

    name, promotion = LINE, DEMANDS

    class spec:  # noqa: N801, D106
        class drift:  # noqa: N801, D106
            columns = ("exposure", "age")

    def adapted(self, _ledger: Ledger) -> "PromotedLine":
        """Itself."""
        return self


@pytest.fixture
def tick(desk: Desk, clock: Clock, tmp_path, monkeypatch) -> Callable[[], dg.SensorResult]:
    """Ticks of the sensor, one after another, by the clock."""

    class Now:
        @staticmethod
        def now(_zone: Any) -> Any:
            return clock.time

        fromisoformat = definitions.datetime.fromisoformat

    store = type("Store", (), {"get": lambda _self, key: key.encode()})()
    outside = outside_with(PlatformSettings(home=tmp_path / "home"), ledger=desk.ledger, object_store=store)
    monkeypatch.setattr(definitions, "datetime", Now)
    monkeypatch.setattr(definitions, "read_reviewers", lambda _file: desk.reviewers)
    monkeypatch.setattr(definitions, "sha256_of_stored", lambda _store, card: card.card_sha256)
    sensor, cursor = review_sensor(outside, [PromotedLine()]), [None]

    def tick() -> dg.SensorResult:
        result = sensor(dg.build_sensor_context(cursor=cursor[0]))
        cursor[0] = result.cursor
        return result

    return tick


@pytest.fixture
def asked(desk: Desk) -> Callable[[], list[tuple[str, int]]]:
    """Cause and version of all requests, oldest first."""
    return lambda: [
        (each.body["cause"], each.body["number"]) for each in desk.ledger.entries(kind=REVIEW_REQUEST)
    ]


@pytest.fixture
def opened(desk: Desk) -> Callable[[], list[tuple[str, int]]]:
    """Of those that are open."""

    def opened() -> list[tuple[str, int]]:
        found = open_requests(
            desk.ledger, LINE, desk.demands, desk.reviewers, notice=NOTICE, now=desk.clock()
        )
        return [(each.body["cause"], each.body["number"]) for each in found]

    return opened


def test_a_version_that_stands_complete_in_staging_is_to_be_reviewed_once(desk, tick, asked, opened):
    """Also where many looks follow, and until it was reviewed."""
    made = desk.stage(2)

    first = tick()
    for _ in range(3):
        tick()

    assert asked() == opened() == [("staging", 2)]
    assert "stands complete in staging" in str(first.skip_reason.skip_message)
    (request,) = desk.ledger.entries(kind=REVIEW_REQUEST)
    assert request.subject == f"{LINE}_model@{made.versions['model']}"
    assert request.body["roles"] == ["radiologist"]
    assert request.body["card_sha256"] == made.card.card_sha256
    desk.review(made)
    assert opened() == []


def test_a_version_that_lacks_more_than_reviews_is_not_to_be_reviewed(desk, tick, asked):
    """Once the verdict is there, it is."""
    desk.stage(2, judged=False)
    tick()
    assert asked() == []

    desk.stage(2)
    tick()

    assert asked() == [("staging", 2)]


def test_another_version_and_another_card_are_other_requests(desk, tick, asked, opened):
    """What was asked about the one says nothing of the other."""
    desk.stage(2)
    tick()
    desk.stage(3)
    tick()

    assert asked() == [("staging", 2), ("staging", 3)]
    assert opened() == [("staging", 3)]


def test_a_second_review_is_waited_for_where_nobody_knows_the_author(desk, tick, opened):
    """One approval is not enough then."""
    made = desk.stage(2, source_author=None)
    tick()
    desk.review(made, LEE)
    assert opened() == [("staging", 2)]

    desk.review(made, KAY)
    assert opened() == []


def test_confirmed_drift_of_what_is_in_production_asks_for_another_review(desk, clock, tick, asked, opened):
    """Of the version that has seen it, once; a review after it answers."""
    made = desk.promoted(2)
    tick()
    for number, state in ((1, "confirmed"), (2, "alarm"), (2, "confirmed")):
        body = {"column": "exposure" if number == 2 else "age", "state": state, "model_version": number}
        desk.ledger.append(DRIFT, LINE, fingerprint=f"{number}{state}", body=body)
        tick()

    assert asked() == opened() == [("drift", 2)]
    clock.advance(hours=1)
    desk.review(made)
    tick()
    assert opened() == []
    assert asked() == [("drift", 2)]


def test_reviews_that_end_are_asked_for_again_before_they_do(desk, clock, tick, asked, opened):
    """A week before, once; the new one moves the end."""
    made = desk.promoted(2)
    clock.advance(days=22)
    tick()
    assert asked() == []

    clock.advance(days=2)
    tick()
    tick()
    assert asked() == opened() == [("expiry", 2)]
    desk.review(made)
    tick()
    assert opened() == []
    clock.advance(days=25)
    tick()
    assert asked() == [("expiry", 2)] * 2


def test_what_was_asked_about_staging_is_over_in_production(desk, clock, tick, asked, opened):
    """Once its reviews end, it is asked for again, and the former request does not open anew."""
    made = desk.stage(2)
    tick()
    desk.review(made)
    desk.promote(made)
    clock.advance(days=40)
    tick()

    assert asked() == [("staging", 2), ("expiry", 2)]
    assert opened() == [("expiry", 2)]


def test_nothing_is_looked_at_twice_in_ten_minutes_unless_the_ledger_grows(desk, clock, tick):
    """A tick costs nothing then."""
    desk.stage(2)
    tick()
    tick()

    assert "nothing was recorded" in str(tick().skip_reason.skip_message)
    clock.advance(minutes=11)
    assert "nothing was recorded" not in str(tick().skip_reason.skip_message)


def test_what_moves_is_shown(desk, tick):
    """Each move of a pointer makes the table of promotions anew, once."""
    desk.stage(2)
    (shown,) = tick().asset_events
    assert shown.metadata["staging"].value == "version 2"
    (row,) = [each.data for each in shown.metadata["review_requests"].value.records]
    assert (row["version"], row["asked of"]) == (2, "radiologist")
    assert tick().asset_events == []

    desk.promoted(3)
    (shown,) = tick().asset_events
    assert shown.asset_key == dg.AssetKey(f"{LINE}_promotions")
    assert (shown.metadata["production"].value, shown.metadata["staging"].value) == ("version 3", "nothing")


def test_the_trouble_of_one_line_is_told(desk, tick, monkeypatch):
    """And asks nobody."""
    monkeypatch.setattr(
        definitions, "sha256_of_stored", lambda *_: (_ for _ in ()).throw(definitions.LineError("away"))
    )
    desk.stage(2)

    assert str(tick().skip_reason.skip_message) == f"{LINE}: away"


# --- The table -------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_stay(desk, clock, tmp_path):
    """The newest first, with a picture, in JSON that a page can hold."""
    outside = outside_with(PlatformSettings(home=tmp_path / "home"), ledger=desk.ledger)
    before = promotions_materialization(outside, LINE, now=clock.time)
    for number in (1, 2):
        desk.promoted(number)
        clock.advance(days=1)

    shown = promotions_materialization(outside, LINE, now=clock.time).metadata

    assert "ever deployed" in before.metadata["note"].value
    rows = [each.data for each in shown["promotions"].value.records]
    assert [(row["stage"], row["version"], row["act"], row["by"]) for row in rows] == [
        ("production", 2, "promote", "Grace"),
        ("staging", 2, "deploy", "runner"),
        ("production", 1, "promote", "Grace"),
        ("staging", 1, "deploy", "runner"),
    ]
    assert [row["reviews"] for row in rows] == [1, 0, 1, 0]
    assert rows[0]["until"] == "now"
    assert shown["stages over time"].value.startswith("![stages over time](data:image/png;base64,")
    assert len(json.dumps(rows)) < 5_000
