"""The watch over HTTP: a request is taken whole or not at all, and Prometheus can read what is told."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from platform_assets.drift.delivery import deliver
from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import EventBatch, moment
from platform_assets.drift.event_reading import read_events
from platform_assets.drift.replay import ManualClock
from platform_assets.drift.segments import DriftLog
from platform_assets.drift.service import events_of, watch_service
from platform_assets.drift.watch import RefusedEventError, Watch
from platform_assets.ledger.ledger import Ledger
from resources.object_store import LocalObjectStore, ObjectStoreError
from tests.drift.watching import ENV, LINE, POLICY, SALT, START_MS, WINDOW, Stream, in_batches, make_profile

PROFILE = make_profile()


@pytest.fixture
def store(tmp_path):
    """An empty object store."""
    return LocalObjectStore(tmp_path / "objects")


@pytest.fixture
def watch(tmp_path, store):
    """A watch that knows versions 1 and 2, ticks when a test says so, and stands at the stream's start."""

    def profile_of(line, version):
        if version not in (1, 2):
            raise DriftError(f"{line} has no release of model version {version}")
        return f"release-{version}", PROFILE

    return Watch(
        LINE,
        POLICY,
        ledger=Ledger.open(tmp_path / "ledger.db", principal="ada"),
        store=store,
        env=ENV,
        salt=SALT,
        profile_of=profile_of,
        clock=ManualClock(START_MS),
    )


@pytest.fixture
def client(watch):
    """Speaks to the service; without entering it, so that no thread ticks."""
    return TestClient(watch_service(watch))


def documents(count=3, **changes):
    """Events as JSON; the second has the changes."""
    made = [event.to_json() for event in Stream().events(count)]
    made[1] |= changes
    return made


def pending(watch):
    """Events that wait to be judged."""
    return sum(each.monitor.pending_events for each in watch.by_version.values())


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(documents()),
        "\n  " + json.dumps(documents(), indent=2),
        "".join(json.dumps(each) + "\n" for each in documents()),
        "\r\n\r\n".join(json.dumps(each) for each in documents()),
    ],
    ids=["array", "indented", "lines", "blank lines"],
)
def test_events_come_as_an_array_or_as_lines(client, watch, body):
    """Both are taken, and told how many."""
    answer = client.post("/v1/events", content=body)
    assert (answer.status_code, answer.json()) == (202, {"taken": 3})
    assert pending(watch) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": "high"}, "score"),
        ({"score": None, "columns": {"words": True}}, "columns.words"),
        ({"event_time": "2026-11-22T12:00:00"}, "event_time"),
        ({"event_id": ""}, "event_id"),
        ({"label": 2}, "label"),
        ({"colour": "red"}, "colour"),
        ({"line": "another"}, "line is not 'reviews_sentiment'"),
        ({"model_version": 3}, "model_version: reviews_sentiment has no release of model version 3"),
        ({"columns": {"words": "many"}}, "columns.words must be a number"),
        ({"columns": {"source": 7}}, "columns.source must be a text"),
    ],
)
def test_a_bad_event_refuses_the_request(client, watch, changes, told):
    """The answer names row and field, and not even the rows before it are taken."""
    answer = client.post("/v1/events", json=documents(**changes))
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail["row"] == 2
    assert told in detail["problem"]
    assert pending(watch) == 0


@pytest.mark.parametrize(
    ("body", "row"),
    [
        (b"{}", 1),
        (b"[1]", 1),
        (b"[", 1),
        (b'{"a": \n', 1),
        (b"\xff", 1),
        (b"5\n", 1),
        pytest.param(b"[" * 1_000 + b"]" * 1_000, 1, id="deep"),
    ],
)
def test_what_is_no_event_is_refused(client, body, row):
    """Never a server error."""
    answer = client.post("/v1/events", content=body)
    assert (answer.status_code, answer.json()["detail"]["row"]) == (422, row)


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_refused(body):
    """Nothing else comes of them."""
    with suppress(RefusedEventError):
        assert isinstance(events_of(body), list)


def test_nothing_is_nothing(client):
    """An empty body and an empty array are no error."""
    assert client.post("/v1/events", content=b"").json() == {"taken": 0}
    assert client.post("/v1/events", content=b"[]").json() == {"taken": 0}


def test_a_body_has_a_limit(client, watch):
    """It is refused before it is read whole."""
    answer = client.post("/v1/events", content=b" " * ((4 << 20) + 1))
    assert answer.status_code == 413
    assert pending(watch) == 0


def test_senders_need_the_token(watch):
    """None, a wrong one and a foreign alphabet are refused."""
    client = TestClient(watch_service(watch, token="s3cret"))
    body = json.dumps(documents())
    for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": b"Bearer \xe9"}):
        assert client.post("/v1/events", content=body, headers=sent).status_code == 401
    assert pending(watch) == 0
    assert (
        client.post("/v1/events", content=body, headers={"Authorization": "Bearer s3cret"}).status_code == 202
    )


def play(client, watch, events):
    """Post events as time goes by, with ticks in between."""
    for batch in in_batches(events, 20):
        watch._clock.now_ms = int(batch[-1].event_time.timestamp() * 1000)
        client.post("/v1/events", json=[each.to_json() for each in batch])
        watch.tick()
    watch.keep(everything=True)


def samples(client):
    """Value by name and labels, without the line, as a Prometheus server would read them."""
    text = client.get("/metrics").text
    return {
        (
            sample.name,
            *(value for label, value in sorted(sample.labels.items()) if label != "line"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_what_the_monitor_found(client, watch):
    """Distances with their interval, states, events by outcome, latency: all of one moment."""
    stream = Stream()
    events = stream.events(4 * WINDOW, drifted=True)
    play(client, watch, [*events, *events[-5:]])
    found = samples(client)
    newest = {(each.column, each.window): each for each in watch.newest_verdicts}
    words = newest["words", "count"]
    for name, value in (("", words.ks), ("_lower", words.ks_lower), ("_upper", words.ks_upper)):
        assert found[f"drift_ks{name}_ratio", "words", "1", "count"] == pytest.approx(value)
    assert found["drift_p_value_ratio", "words", "1", "count"] == pytest.approx(words.p_value)
    assert found["drift_psi_ratio", "words", "1", "count"] == pytest.approx(words.psi)
    assert words.psi > found["drift_psi_by_chance_ratio", "words", "1", "count"] > 0
    assert {name[3] for name in found if name[0] == "drift_psi_ratio"} == {"count"}
    assert found["drift_alarm_state", "words", "1"] == 2
    assert found["drift_alarm_state", "score", "1"] == 0
    outcomes = ("absorbed", "sampled_out", "late_beyond_horizon", "duplicate")
    assert [found["drift_events_total", "1", outcome] for outcome in outcomes] == [4 * WINDOW, 0, 0, 5]
    assert found["drift_verdicts_total",] == watch.verdicts_total
    assert found["drift_problems",] == 0


def test_the_latency_histogram_is_one(client, watch):
    """Buckets in seconds that only grow, the deadline among them, and the last holds everything."""
    play(client, watch, Stream().events(2 * WINDOW))
    name = "drift_event_to_verdict_seconds"
    found = samples(client)
    buckets = {float(key[1]): value for key, value in found.items() if key[0] == f"{name}_bucket"}
    assert 0.785 in buckets
    counts = [buckets[end] for end in sorted(buckets)]
    assert counts == sorted(counts)
    latency = watch.by_version[1].monitor.latency_since_start
    assert buckets[float("inf")] == found[f"{name}_count", "1"] == latency.count > 0
    assert found[f"{name}_sum", "1"] == pytest.approx(latency.sum_ms / 1000)
    assert buckets[10.0] == latency.count


def test_decay_is_a_metric_once_there_are_labels(client, watch, store):
    """As `model_decay_rate`, with its interval; before there are enough days it is absent."""
    assert not any(key[0] == "model_decay_rate" for key in samples(client))
    log, stream = DriftLog(store, env=ENV, line=LINE), Stream()
    for day in range(4):
        stream.now_ms = START_MS - day * int(timedelta(days=1).total_seconds() * 1000)
        log.add_labels(EventBatch.of(stream.events(100, labelled=True)), 1)
    log.flush()
    watch.measure_decay()
    found = samples(client)
    low, rate, high = (found[f"model_decay_rate{end}", "1"] for end in ("_low", "", "_high"))
    assert low < rate < high


def test_a_store_that_is_away_is_not_the_fault_of_the_sender(client, watch):
    """A profile that cannot be loaded now is a 503, so that the events come again; nothing was taken."""

    def unreachable(line, version):
        raise ObjectStoreError("the bucket does not answer")

    watch._profile_of = unreachable
    answer = client.post("/v1/events", json=documents())
    assert (answer.status_code, pending(watch)) == (503, 0)
    assert "the bucket does not answer" in answer.json()["detail"]


def test_the_newest_verdicts_are_told(client, watch):
    """One a column and window, in JSON without NaN."""
    play(client, watch, Stream().events(20))
    answer = client.get("/v1/verdicts")
    verdicts = json.loads(answer.text, parse_constant=pytest.fail)["verdicts"]
    assert {(each["column"], each["window"]) for each in verdicts} >= {("score", "l1"), ("words", "l2")}
    assert verdicts[0]["window_end"].endswith("+00:00")
    assert answer.json()["not_watched"] == {"1": {}}


def test_health_is_that_of_every_part(client, watch):
    """A store that cannot be written is told with a status that a probe understands."""
    assert (client.get("/health").status_code, client.get("/health").json()) == (200, {"problems": {}})
    watch._problems = {"store": "no room"}
    assert (client.get("/health").status_code, client.get("/health").json()["problems"]) == (
        503,
        {"store": "no room"},
    )


def test_the_service_runs_its_watch(watch, store):
    """What it took is judged and stored before it ends."""
    with TestClient(watch_service(watch)) as client:
        watch._clock.now_ms += 1000
        assert client.post("/v1/events", json=documents(label=1)).status_code == 202
    assert watch.by_version[1].monitor.counters.absorbed == 3
    assert ["/labels-" in key for key in store.list()] == [True]


# --- Delivery ------------------------------------------------------------------------------------------


def test_events_are_appended_to_a_file(tmp_path):
    """A line each, after those that are there, and they read back equal."""
    first, second = Stream(seed=1).events(2), Stream(seed=2).events(3, labelled=True)
    path = tmp_path / "events.jsonl"
    deliver(first, str(path))
    deliver(second, str(path))
    assert [event for _, event in read_events(path)] == [*first, *second]
    with pytest.raises(DriftError, match="cannot be appended"):
        deliver(first, str(tmp_path))
    with pytest.raises(DriftError, match="event 2: a text of it holds half a character"):
        deliver([first[0], replace(first[1], columns={"source": "\ud83d"})], str(path))
    assert len(path.read_bytes().splitlines()) == 5
    assert first[0].event_time == moment(START_MS + 5)
