"""What a watch tells Prometheus. Everything is read when it is asked for: an event costs nothing.

drift_ks_ratio, drift_ks_lower_ratio, drift_ks_upper_ratio, drift_threshold_ratio, drift_p_value_ratio,
drift_window_events, drift_sample_rate_ratio         {line, model_version, column, window}
drift_psi_ratio, drift_psi_by_chance_ratio           {line, model_version, column, window}: of the window count
drift_alarm_state                                    {line, model_version, column}: 0 clear, 1 alarm, 2 confirmed
drift_event_to_verdict_seconds                       {line, model_version}: histogram
drift_events_total                                   {line, model_version, outcome}
drift_verdicts_total, drift_rows_dropped_total, drift_problems    {line}
model_decay_rate, model_decay_rate_low, model_decay_rate_high     {line, model_version}: AUC per day
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from platform_assets.drift.alarms import ALARM, CLEAR, CONFIRMED
from platform_assets.drift.latency import BUCKET_EDGES_MS, LatencyHistogram
from platform_assets.drift.watch import Watch

_STATES: Final = {CLEAR: 0, ALARM: 1, CONFIRMED: 2}
_BUCKETS_MS: Final = (5, 10, 25, 50, 100, 200, 300, 400, 500, 600, 700, 1000, 2500, 5000, 10_000)
_VERDICT_LABELS: Final = ("line", "model_version", "column", "window")
_MEASURES: Final = {
    "drift_ks_ratio": (
        "ks",
        "Kolmogorov-Smirnov distance from the reference, midpoint of its certified interval",
    ),
    "drift_ks_lower_ratio": ("ks_lower", "Lower end of the certified interval"),
    "drift_ks_upper_ratio": ("ks_upper", "Upper end of the certified interval"),
    "drift_threshold_ratio": ("threshold", "What the lower end may reach without an alarm"),
    "drift_p_value_ratio": ("p_value", "Chance of such a distance where nothing has drifted"),
    "drift_window_events": ("events", "Events in the window"),
    "drift_sample_rate_ratio": ("sample_rate", "Share of the window's events that was looked at"),
    "drift_psi_ratio": ("psi", "Population stability index: from 0.1 moderate, from 0.25 major"),
    "drift_psi_by_chance_ratio": (
        "psi_by_chance",
        "What the index exceeds in one of twenty windows while nothing drifts",
    ),
}


def registry_of(watch: Watch) -> CollectorRegistry:
    """A registry of its own: nothing that other libraries count is in it."""
    registry = CollectorRegistry()
    registry.register(_WatchCollector(watch))
    return registry


class _WatchCollector(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand, so that registering collects nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Everything as it is now."""
        yield from self._of_verdicts()
        yield from self._of_monitors()
        yield from self._of_line()

    def _of_verdicts(self) -> Iterable[Metric]:
        verdicts = self._watch.newest_verdicts
        for name, (field, told) in _MEASURES.items():
            family = GaugeMetricFamily(name, told, labels=_VERDICT_LABELS)
            for each in verdicts:
                if name.startswith("drift_psi") and each.window != "count":
                    continue
                labels = [each.line, str(each.model_version), each.column, each.window]
                family.add_metric(labels, float(getattr(each, field)))
            yield family

    def _of_monitors(self) -> Iterable[Metric]:
        of_monitor = ("line", "model_version")
        states = GaugeMetricFamily(
            "drift_alarm_state", "0 clear, 1 alarm, 2 confirmed", labels=(*of_monitor, "column")
        )
        events = CounterMetricFamily(
            "drift_events", "Prediction events by what became of them", labels=(*of_monitor, "outcome")
        )
        latency = HistogramMetricFamily(
            "drift_event_to_verdict_seconds",
            "From an event's time to the first verdict that contains it",
            labels=of_monitor,
        )
        for version, watched in self._watch.by_version.items():
            labels, monitor = [self._watch.line, str(version)], watched.monitor
            for column, state in monitor.states.items():
                states.add_metric([*labels, column], _STATES[state])
            for outcome, count in asdict(monitor.counters).items():
                if outcome != "received":  # which is their sum
                    events.add_metric([*labels, outcome], count)
            deadline_ms = self._watch.policy.deadline_ms
            latency.add_metric(labels, *_buckets(monitor.latency_since_start, deadline_ms))
        yield from (states, events, latency)

    def _of_line(self) -> Iterable[Metric]:
        line = [self._watch.line]
        for name, told, count in (
            ("drift_verdicts", "Verdicts of all windows", self._watch.verdicts_total),
            ("drift_rows_dropped", "Rows of the log that found its buffer full", self._watch.log.dropped),
        ):
            counter = CounterMetricFamily(name, told, labels=("line",))
            counter.add_metric(line, count)
            yield counter
        problems = GaugeMetricFamily("drift_problems", "Parts that do not work now", labels=("line",))
        problems.add_metric(line, len(self._watch.problems))
        yield problems
        measured = self._watch.decay
        if measured is None or measured[1].slope is None:
            return
        version, slope = measured[0], measured[1].slope
        for name, rate in (
            ("model_decay_rate", slope.per_day),
            ("model_decay_rate_low", slope.low),
            ("model_decay_rate_high", slope.high),
        ):
            gauge = GaugeMetricFamily(
                name, "Slope of the AUC of labelled events, per day", labels=("line", "model_version")
            )
            gauge.add_metric([*line, str(version)], rate)
            yield gauge


def _buckets(latency: LatencyHistogram, deadline_ms: float) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper end in seconds, and the sum in seconds; the deadline is one of the ends."""
    counts = latency.counts.copy()
    up_to = np.concatenate([[0], np.cumsum(counts)])
    ends_ms = sorted({*_BUCKETS_MS, deadline_ms})
    # A finer bucket that an end cuts counts as lying above it: never flattering.
    whole = np.searchsorted(BUCKET_EDGES_MS, ends_ms, side="right") - 1
    buckets = [(repr(end / 1000), float(up_to[at])) for end, at in zip(ends_ms, whole, strict=True)]
    return [*buckets, ("+Inf", float(up_to[-1]))], latency.sum_ms / 1000
