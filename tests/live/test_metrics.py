import math
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepfreak.live.dashboard.metrics import Metrics
from deepfreak.live.messages import RunCounts
from tests.live.examples import CLASSES, made_rows


def read(metrics):
    """Return {(name, label value or None): value} parsed as Prometheus text."""
    body, kind = metrics.text()
    assert kind.startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            found[sample.name, next(iter(sample.labels.values()), None)] = sample.value
    return found


def test_everything_is_there_at_zero_from_the_start():
    found = read(Metrics(CLASSES))
    for decision in ("keep", "discard", "unsure", "unreadable", "dropped"):
        assert found["deepfreak_frames_total", decision] == 0
    for label in CLASSES:
        assert found["deepfreak_frames_by_label_total", label] == 0
    assert found["deepfreak_latency_seconds_count", None] == 0
    assert math.isnan(found["deepfreak_hit_ratio", None])


def test_frames_are_counted_by_decision_and_label():
    metrics = Metrics(CLASSES)
    metrics.add(made_rows(1, 10))
    metrics.add(made_rows(11, 5, decision="unsure", saturated=True))
    bare = {"label": None, "probabilities": (), "p_crystal": None}
    metrics.add(made_rows(16, 2, decision="dropped", **bare))
    metrics.add(made_rows(18, 1, decision="unreadable", **bare))
    metrics.add([])
    found = read(metrics)
    decisions = ("keep", "discard", "unsure", "unreadable", "dropped")
    assert [found["deepfreak_frames_total", name] for name in decisions] == [4, 6, 5, 1, 2]
    assert [found["deepfreak_frames_by_label_total", name] for name in CLASSES] == [3] * 5
    assert found["deepfreak_frames_saturated_total", None] == 5
    assert found["deepfreak_hit_ratio", None] == pytest.approx(4 / 15)


def test_latency_is_from_receipt_to_verdict_of_frames_with_one():
    metrics = Metrics()
    metrics.add(made_rows(1, 10, received=100.0, decided=100.015))
    metrics.add(made_rows(11, 1, received=100.0, decided=100.5))
    metrics.add(made_rows(12, 1, received=100.0, decided=99.0))  # a clock that was set back
    metrics.add(made_rows(13, 9, received=100.0, decided=190.0, decision="dropped"))
    found = read(metrics)
    assert found["deepfreak_latency_seconds_count", None] == 12
    assert found["deepfreak_latency_seconds_sum", None] == pytest.approx(0.65)
    assert found["deepfreak_latency_seconds_bucket", "0.01"] == 1
    assert found["deepfreak_latency_seconds_bucket", "0.02"] == 11
    assert found["deepfreak_latency_seconds_bucket", "0.5"] == 12


def test_the_hit_rate_is_that_of_recent_frames():
    metrics = Metrics()
    metrics.add(made_rows(1, 5000, decision="discard"))
    metrics.add(made_rows(5001, 250, decision="keep"))
    assert read(metrics)["deepfreak_hit_ratio", None] == 0.25


def test_totals_that_others_count_are_taken_over_and_counters_never_fall():
    metrics = Metrics()
    metrics.count(RunCounts(duplicates=3, missed=7, troubles=2, waiting=11))
    metrics.count(RunCounts(duplicates=5, missed=6, troubles=1, waiting=0))
    found = read(metrics)
    assert found["deepfreak_frames_duplicate_total", None] == 5
    assert found["deepfreak_messages_malformed_total", None] == 2
    assert found["deepfreak_frames_missed", None] == 6  # one came late
    assert found["deepfreak_queue_frames", None] == 0


def test_a_hostile_label_cannot_add_a_line():
    metrics = Metrics()
    metrics.add(made_rows(1, 1, label='a"} 1\ndeepfreak_frames_total{decision="keep'))
    assert read(metrics)["deepfreak_frames_total", "keep"] == 1


def test_two_runs_in_one_process_do_not_share_counts():
    first, second = Metrics(), Metrics()
    first.add(made_rows(1, 6))
    assert read(second)["deepfreak_frames_total", "keep"] == 0


def test_nothing_here_is_loaded_with_the_package():
    heavy = "prometheus_client zmq msgpack h5py"
    code = f"import sys, deepfreak; sys.exit(any(m in sys.modules for m in '{heavy}'.split()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
