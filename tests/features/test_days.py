"""Features by day: in whatever order and however often they are made, they are those of one run over everything."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from platform_assets.features import daily, day_index
from platform_assets.features.day_making import published_marks
from platform_assets.features.errors import FeatureError
from platform_assets.governance.errors import ErasureError
from resources.warehouse import WarehouseError
from tests.features.day_factory import (
    CONTRACT,
    LAG,
    NAME,
    ZSCORE,
    Meters,
    bits,
    day,
    days_of,
    erased,
    readings,
    with_day,
)


@pytest.mark.parametrize(
    ("spec", "shuffled"), [(ZSCORE, True), (ZSCORE, False), (LAG, True)], ids=["zscore", "ordered", "lag"]
)
def test_ninety_days_are_one_run_over_everything(tmp_path, spec, shuffled):
    """A backfill of all days gives the bits of one run, whatever order the rows stand in."""
    meters, rows = Meters(tmp_path, spec), readings(90, shuffled=shuffled)
    meters.publish(rows)
    assert set(meters.outcomes(*range(90)).values()) == {"made"}
    assert bits(meters.table()).equals(bits(meters.expected(rows)))


@pytest.mark.parametrize("spec", [ZSCORE, LAG], ids=["zscore", "lag"])
def test_days_in_any_order_have_the_same_bits(tmp_path, spec):
    """Each by itself, without the days before it having been made, in an order that chance chose."""
    meters, rows = Meters(tmp_path, spec), readings(9)
    meters.publish(rows)
    order = random.Random(15).sample(range(9), 9)
    for number in order:
        assert meters.outcomes(number) == {number: "made"}
    assert bits(meters.table()).equals(bits(meters.expected(rows)))
    assert set(meters.outcomes(*range(9)).values()) == {"reused"}


@pytest.mark.parametrize("spec", [ZSCORE, LAG], ids=["zscore", "lag"])
def test_a_new_day_goes_on_from_the_kept_state(tmp_path, spec, monkeypatch):
    """It reads no rows but its own, and has the bits of one run; so has the newest day, made again of what came late."""
    meters, rows = Meters(tmp_path, spec), readings(12)
    numbers = days_of(rows)
    meters.publish(rows.filter(numbers < 10))
    meters.make(*range(10))
    asked = []
    read = type(meters.outside.warehouse).read_between
    monkeypatch.setattr(
        type(meters.outside.warehouse),
        "read_between",
        lambda self, table, snapshot, column, first, last, **more: (
            asked.append((first.date(), last.date()))
            or read(self, table, snapshot, column, first, last, **more)
        ),
    )
    for newest in (10, 11):
        meters.publish(rows.filter(numbers <= newest))
        assert meters.outcomes(*range(newest + 1)) == dict.fromkeys(range(newest), "reused") | {
            newest: "made"
        }
    assert asked == [(day(10), day(11)), (day(11), day(12))]
    assert bits(meters.table()).equals(bits(meters.expected(rows)))
    late = with_day(rows, 11, [7.0, 8.5])
    meters.publish(late)
    assert meters.outcomes(11) == {11: "made"}
    assert asked[2:] == [(day(11), day(12))]
    assert bits(meters.table()).equals(bits(meters.expected(late)))
    # Those that fit no input any more are gone.
    assert [key.rpartition("/")[2][:10] for key in meters.states] == [str(day(10)), str(day(11))]


def test_a_lost_or_damaged_state_changes_no_bit(tmp_path, caplog):
    """The day is made of the rows of its window."""
    meters, rows = Meters(tmp_path), readings(12)
    numbers = days_of(rows)
    for lose in (False, True):
        meters.publish(rows.filter(numbers < 10 + lose))
        meters.make(*range(10 + lose))
        for key in meters.states:
            if lose:
                meters.outside.object_store.delete(key)
            else:
                path = meters.outside.settings.objects_path / "data" / key
                path.write_bytes(path.read_bytes()[:-1] + b"!")
        meters.publish(rows.filter(numbers < 11 + lose))
        meters.make(10 + lose)
        assert ("is not used" in caplog.text) is not lose
        caplog.clear()
    assert bits(meters.table()).equals(bits(meters.expected(rows)))


def test_no_state_of_personal_data_is_kept(tmp_path):
    """It would hold values of people, and no erasure would find them; what was kept before goes. Nor one that names people."""
    named = Meters(tmp_path / "named", subject="meter")
    named.publish(readings(2))
    assert named.outcomes(0, 1) == {0: "made", 1: "made"}
    assert named.states == []
    meters, rows = Meters(tmp_path), readings(3)
    meters.publish(rows)
    meters.make(0, 1, 2)
    assert len(meters.states) == 1
    meters.gdpr_class = "personal"
    meters.publish(readings(4))
    meters.make(0, 1, 2, 3)
    assert meters.states == []


def test_late_rows_open_the_days_whose_windows_they_are_in_and_no_other(tmp_path):
    """A changed day opens itself and the seven after it that look back to it; that of a lag by four days the four after it."""
    for spec, reach in ((ZSCORE, 7), (LAG, 4)):
        meters, rows = Meters(tmp_path / spec["transformerType"], spec), readings(30)
        meters.publish(rows)
        meters.make(*range(30))
        late = readings(30, rows_a_day=41, seed=5)
        late = pa.concat_tables([rows, late.filter(days_of(late) == 12).slice(0, 3)])
        meters.publish(late)
        concerned = list(range(12, 12 + reach + 1))
        assert meters.status().of("reopened") == [day(number) for number in concerned]
        assert len(meters.status().of("made")) == 30 - len(concerned)
        outcomes = meters.outcomes(*range(30))
        assert [number for number, outcome in outcomes.items() if outcome == "made"] == concerned
        assert bits(meters.table()).equals(bits(meters.expected(late)))


def test_what_no_feature_is_made_of_opens_no_day(tmp_path):
    """Another column of the dataset is not looked at; the order of a day's rows is, since ties follow it."""
    meters, rows = Meters(tmp_path), readings(5)
    meters.publish(rows)
    meters.make(*range(5))
    meters.publish(rows.append_column("note", pa.array(["new"] * rows.num_rows)))
    assert set(meters.outcomes(*range(5)).values()) == {"reused"}
    meters.publish(rows.take(np.argsort(days_of(rows), kind="stable")))
    assert set(meters.outcomes(*range(5)).values()) == {"reused"}
    meters.publish(rows.take(np.arange(rows.num_rows)[::-1]))
    assert set(meters.outcomes(*range(5)).values()) == {"made"}


def test_a_day_that_the_contract_refuses_stays_out_until_it_is_healed(tmp_path):
    """Its rows are in no window; the others are made without it; healed, it opens the days after it."""
    meters, rows = Meters(tmp_path), readings(20)
    broken = with_day(rows, 6, [-1.0, -2.0, 3.0])
    meters.publish(broken)
    outcomes = {(each.day - day(0)).days: each for each in meters.make(*range(20))}
    assert outcomes[6].outcome == "refused"
    assert (
        "contract.readings: expect_column_values_to_be_between: 27 of 40 values of column `kwh`"
        in outcomes[6].problem
    )
    assert "-1" not in outcomes[6].problem
    assert {each.outcome for number, each in outcomes.items() if number != 6} == {"made"}
    without = broken.filter(days_of(broken) != 6)
    assert bits(meters.table()).equals(bits(meters.expected(without)))
    assert meters.status().of("refused") == [day(6)]
    meters.publish(rows)
    assert meters.status().of("missing") == [day(6)]
    assert meters.status().of("reopened") == [day(number) for number in range(7, 14)]
    healed = meters.outcomes(*range(20))
    assert [number for number, outcome in healed.items() if outcome == "made"] == list(range(6, 14))
    assert bits(meters.table()).equals(bits(meters.expected(rows)))


def test_the_last_good_rows_of_a_day_stay_where_it_is_refused_now(tmp_path):
    """As with any dataset that its contract refuses; the days after it are made without its new rows."""
    meters, rows = Meters(tmp_path), readings(10)
    meters.publish(rows)
    meters.make(*range(10))
    good = meters.table().filter(days_of(meters.table()) == 4)
    broken = with_day(rows, 4, [None])
    meters.publish(broken)
    assert meters.outcomes(*range(10)) == (
        dict.fromkeys(range(4), "reused") | {4: "refused"} | dict.fromkeys(range(5, 10), "made")
    )
    found = meters.table()
    assert bits(found.filter(days_of(found) == 4)).equals(bits(good))
    others = meters.expected(broken.filter(days_of(broken) != 4))
    assert bits(found.filter(days_of(found) != 4)).equals(bits(others))
    (refused,) = [each for each in meters.status().days if each.state == "refused"]
    assert refused.published
    assert refused.broken


def test_a_verdict_names_the_refused_days(tmp_path, monkeypatch):
    """One of each version, however often and by whichever code its days are made; another contract judges again."""
    meters, rows = Meters(tmp_path), readings(10)
    version = meters.publish(with_day(with_day(rows, 2, [None]), 7, [-1.0]))
    for commit in ("0c0ffee", "decade"):
        monkeypatch.setattr(day_index, "code_commit", lambda commit=commit: commit)
        meters.make(*range(10))
    ledger = meters.outside.ledger
    subject = f"meter_use_daily@{version.data_version}"
    (entry,) = ledger.entries(kind="verdict", subject=subject)
    assert entry.body["outcome"] == "fail"
    assert entry.body["evidence"]["refused"] == [str(day(2)), str(day(7))]
    assert entry.body["evidence"]["days"] == 10
    assert "expect_column_values_to_not_be_null: 40 of 40" in entry.body["evidence"]["observed"]
    lenient = Meters(tmp_path, contract=CONTRACT.replace("mostly: 0.9}", "mostly: 0.0}"))
    lenient.version = version
    assert lenient.outcomes(2, 7) == {2: "refused", 7: "made"}
    _, second = ledger.entries(kind="verdict", subject=subject)
    assert second.body["evidence"]["refused"] == [str(day(2))]


def test_days_that_are_not_there_yet_wait_and_days_without_rows_are_made(tmp_path):
    """An empty day is told from one that is missing."""
    meters, rows = Meters(tmp_path), readings(6)
    meters.publish(rows.filter(days_of(rows) != 3))
    assert meters.status().of("missing") == [day(number) for number in range(6)]
    assert meters.outcomes(2, 3, 5, 6) == {2: "made", 3: "made", 5: "made", 6: "awaited"}
    assert meters.status().of("missing") == [day(number) for number in (0, 1, 4)]
    assert sorted(set(days_of(meters.table()).tolist())) == [2, 5]
    meters.publish(rows)
    assert meters.status().of("reopened") == [day(number) for number in (3, 5)]
    assert meters.outcomes(3) == {3: "made"}


def test_days_that_have_lost_all_their_rows_are_open_and_made_empty(tmp_path):
    """Those at the end as those between; what the table has of them goes, and their partitions are told."""
    meters, rows = Meters(tmp_path), readings(6)
    meters.publish(rows)
    meters.make(*range(6))
    left = rows.filter(days_of(rows) < 4)
    meters.publish(left)
    assert meters.status().of("reopened") == [day(4), day(5)]
    assert meters.outcomes(*range(7)) == dict.fromkeys(range(4), "reused") | {
        4: "made",
        5: "made",
        6: "awaited",
    }
    assert bits(meters.table()).equals(bits(meters.expected(left)))
    assert meters.status().of("made") == [day(number) for number in range(6)]
    meters.publish(rows)
    assert meters.status().of("reopened") == [day(4), day(5)]


def test_times_of_the_future_are_no_days_yet(tmp_path, monkeypatch):
    """A day has a partition once it has ended, and rows of today are there before; a time in the year 9999 tells nothing."""
    meters, rows = Meters(tmp_path), readings(6)
    never = pa.scalar("9999-12-31T12:00:00").cast(pa.timestamp("us"))
    monkeypatch.setattr(daily, "today", lambda: day(4))
    monkeypatch.setattr(day_index, "today", lambda: day(4))
    times = pc.if_else(pc.equal(rows["reading"], rows["reading"][0]), never, rows["at"])
    later = rows.set_column(rows.schema.get_field_index("at"), "at", times)
    meters.publish(later.filter(pc.or_(pc.less(days_of(later), 3), pc.greater(days_of(later), 99))))
    assert meters.status().of("missing") == [day(number) for number in range(3)]
    assert meters.outcomes(2, 3) == {2: "made", 3: "awaited"}
    meters.publish(later)
    assert meters.outcomes(*range(4)) == {0: "made", 1: "made", 2: "reused", 3: "made"}
    assert [each.day for each in meters.status().days] == [day(number) for number in range(4)]
    # The next day goes on from it.
    assert [key.rpartition("/")[2][:10] for key in meters.states] == [str(day(2)), str(day(3))]


def test_a_damaged_index_is_found_anew(tmp_path, caplog):
    """As what is missing is; until then, no day is known."""
    meters, rows = Meters(tmp_path), readings(3)
    meters.publish(rows)
    meters.make(0, 1)
    (key,) = [key for key in meters.outside.object_store.list("models") if key.endswith("days.json")]
    (meters.outside.settings.objects_path / "data" / key).write_bytes(b"{}")
    assert meters.status().days == ()
    assert f"the days of meter_use@v1 are found anew: object {key} is damaged" in caplog.text
    assert meters.outcomes(0, 1, 2) == {0: "reused", 1: "reused", 2: "made"}
    assert len(meters.status().of("made")) == 3


def test_days_of_a_version_that_is_not_the_newest_any_more_are_not_published(tmp_path):
    """Whoever is slow puts no rows of before in the place of newer ones."""
    meters, rows = Meters(tmp_path), readings(4)
    meters.publish(rows)
    slow = meters.making()
    meters.publish(readings(4, seed=1))
    meters.make(*range(4))
    with pytest.raises(
        FeatureError, match="meter_use@v2 was made meanwhile, and these days are of meter_use@v1"
    ):
        list(slow.made([day(number) for number in range(4)]))
    assert len(meters.status().of("made")) == 4


def test_days_of_another_spec_leave_with_the_first_day_of_the_new_one(tmp_path):
    """A column has one meaning; an annotation has none."""
    meters, rows = Meters(tmp_path), readings(10)
    meters.publish(rows)
    meters.make(*range(10))
    shorter = Meters(tmp_path, {**ZSCORE, "windowDays": 3}, until=day(8))
    shorter.publish(rows)
    assert len(shorter.status().of("reopened")) == 9
    shorter.make(4)
    assert sorted(set(days_of(shorter.table()).tolist())) == [4]
    again = Meters(tmp_path, {**ZSCORE, "windowDays": 3}, until=day(9))
    again.version = meters.version
    with pytest.raises(FeatureError, match="meter_use@v1 is of another spec or kernel"):
        again.make(4)
    assert again.publish(rows).number == 2
    assert again.outcomes(4, 5) == {4: "reused", 5: "made"}


def test_rows_from_before_the_first_day_are_in_its_window(tmp_path):
    """The first partition is not the beginning of history."""
    meters, rows = Meters(tmp_path), readings(10)
    meters.declared.content.metadata.annotations["platform-assets/daily-from"] = str(day(8))
    meters.publish(rows)
    assert meters.outcomes(8, 9) == {8: "made", 9: "made"}
    expected = meters.expected(rows)
    assert bits(meters.table()).equals(bits(expected.filter(days_of(expected) >= 8)))


def test_rows_that_were_written_again_are_the_same_input(tmp_path):
    """The version names a snapshot that is gone; what it held is there again."""
    meters, rows = Meters(tmp_path), readings(4)
    version = meters.publish(rows)
    meters.make(0, 1)
    meters.outside.warehouse.drop("datasets.meters", [version.snapshot.snapshot_id])
    with pytest.raises(FeatureError, match="were erased or have expired; materialize meter_use first"):
        meters.make(2)
    assert meters.publish(rows).snapshot == version.snapshot
    assert meters.outcomes(0, 1, 2, 3) == {0: "reused", 1: "reused", 2: "made", 3: "made"}
    assert bits(meters.table()).equals(bits(meters.expected(rows)))


def test_an_erased_subject_leaves_the_days_and_what_is_made_next(tmp_path):
    """Only its day is written again; all that is published stays by day, and the days that had its value are made anew."""
    meters, rows = Meters(tmp_path), readings(12)
    meters.publish(rows)
    meters.make(*range(12))
    gone = rows.filter(pc.equal(rows["reading"], "r130"))
    number = int(days_of(gone)[0])
    assert erased(meters, "r130").outcome == "pass"
    assert "r130" not in meters.table()["reading"].to_pylist()
    assert meters.table().num_rows == rows.num_rows - 1
    assert len(published_marks(NAME, meters.outside)) == 12
    with pytest.raises(FeatureError, match="were erased or have expired; materialize meter_use first"):
        meters.make(number)
    left = rows.filter(pc.not_equal(rows["reading"], "r130"))
    meters.publish(left)
    concerned = list(range(number, min(number + 8, 12)))
    assert meters.status().of("reopened") == [day(each) for each in concerned]
    meters.make(*range(12))
    assert bits(meters.table()).equals(bits(meters.expected(left)))


def test_whom_somebody_has_erased_meanwhile_does_not_come_back(tmp_path):
    """Days that were computed before are not published after it."""
    meters, rows = Meters(tmp_path), readings(3)
    meters.publish(rows)
    meters.make(0, 1)
    making = meters.making()
    published = making.outside.warehouse.stage_days

    def meanwhile(*given, **named):
        assert (
            erased(meters, rows["reading"].to_pylist()[int(np.flatnonzero(days_of(rows) == 2)[0])]).outcome
            == "pass"
        )
        return published(*given, **named)

    making.outside.warehouse.stage_days = meanwhile
    with pytest.raises((ErasureError, WarehouseError)):
        list(making.made([day(2)]))
    assert sorted(set(days_of(meters.table()).tolist())) == [0, 1]
