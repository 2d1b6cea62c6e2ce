"""The statistics against the same numbers counted in the simplest way."""

import json
import sys
import time

import numpy as np
import pytest

from deepfreak.errors import InputError, RecipeError
from deepfreak.live.messages import RunCounts, SeriesBegan, SeriesEnded
from deepfreak.live.statistics import Statistics
from deepfreak.live.statistics.counts import BUCKETS, TimeBins, bucket, quantile_ms
from deepfreak.live.statistics.shown import MOST
from tests.live.frame_outcomes import CLASSES, outcome, picture, rows

NOW = 1_700_000_000.0


def made(**settings):
    return Statistics(classes=CLASSES, started=NOW, **settings)


def test_it_counts_each_outcome_once_by_decision_and_class():
    rng = np.random.default_rng(1)
    labels = rng.choice(CLASSES, 500)
    outcomes = [outcome(i, NOW + i / 100, label=label) for i, label in enumerate(labels)]
    outcomes += [
        outcome(500 + i, NOW + 5, decision=decision, label="good")
        for i, decision in enumerate(["unreadable", "dropped", "dropped", "unsure"])
    ]
    statistics = made()
    statistics.add(rows(outcomes))
    totals = statistics.snapshot(NOW + 5)["totals"]
    hits = int(np.isin(labels, CLASSES[2:]).sum())
    assert totals["frames"] == 504
    assert totals["decisions"] == {
        "keep": hits,
        "discard": 500 - hits,
        "unsure": 1,
        "unreadable": 1,
        "dropped": 2,
    }
    expected = {name: int((labels == name).sum()) for name in CLASSES}
    expected["good"] += 1  # the unsure one; frames that were not judged have no class
    assert totals["classes"] == expected


def test_the_hit_rate_is_kept_of_judged_in_the_last_half_minute_with_its_interval():
    statistics = made()
    statistics.add(rows(outcome(i, NOW - 40, label="good") for i in range(50)))  # too old
    statistics.add(rows(outcome(i, NOW - 5, label="good") for i in range(20)))
    statistics.add(rows(outcome(i, NOW - 4, label="blank") for i in range(60)))
    statistics.add(rows(outcome(i, NOW - 3, decision="unreadable") for i in range(9)))
    rate = statistics.snapshot(NOW)["hit_rate"]
    assert (rate["hits"], rate["total"], rate["value"]) == (20, 80, 0.25)
    assert rate["low"] < 0.25 < rate["high"]
    assert rate["high"] - rate["low"] == pytest.approx(
        2 * 1.96 * np.sqrt(0.25 * 0.75 / 80), rel=0.05
    )


def test_latency_is_from_the_senders_time_if_known():
    rng = np.random.default_rng(2)
    times = rng.lognormal(np.log(20), 0.7, 3000)
    statistics = made()
    statistics.add(rows(outcome(i, NOW - 3 + i / 1000, ms=ms) for i, ms in enumerate(times)))
    latency = statistics.snapshot(NOW)["latency_ms"]
    assert latency["since"] == "received"
    assert latency["p50"] == pytest.approx(np.quantile(times, 0.5), rel=0.05)
    assert latency["p99"] == pytest.approx(np.quantile(times, 0.99), rel=0.15)
    statistics = made()
    statistics.add(rows(outcome(i, NOW - 1, ms=5, sent=NOW - 1.2) for i in range(100)))
    latency = statistics.snapshot(NOW)["latency_ms"]
    assert latency["since"] == "sent"
    assert latency["p50"] == pytest.approx(200, rel=0.15)


def test_clocks_that_disagree_are_no_negative_latency():
    assert bucket(-1e12) == bucket(float("nan")) == bucket(0.0) == 0
    assert bucket(float("inf")) == BUCKETS - 1
    assert quantile_ms(np.zeros(BUCKETS, int), 0.5) is None
    edges = [bucket(ms) for ms in np.geomspace(0.05, 2e5, 500)]
    assert edges == sorted(edges)
    assert set(edges) == set(range(BUCKETS))


def test_bins_are_those_of_a_plain_count_over_days():
    rng = np.random.default_rng(3)
    bins = TimeBins(width_s=10.0, count=30, columns=2)
    times = np.sort(rng.uniform(0, 1000, 4000))
    for time_s in times:
        bins.add(time_s, [int(time_s) % 2])
    start, sums = bins.grouped(999.9, points=6, group=5)
    assert start == 700
    edges = np.arange(700, 1001, 50)
    for parity in (0, 1):
        counted, _ = np.histogram(times[times.astype(int) % 2 == parity], edges)
        assert sums[:, parity].tolist() == counted.tolist()
    bins.add(500.0, [0])  # older than the ring is long
    assert bins.grouped(999.9, points=6, group=5)[1].sum() == sums.sum()
    assert bins.last(5000.0, 300).sum() == 0


def test_timelines_follow_hit_rate_classes_and_speed():
    statistics = made()
    for second in range(120):
        label = "strong" if second < 60 else "blank"
        statistics.add(rows(outcome(i, NOW + second + i / 10, label=label) for i in range(10)))
    five_minutes, hour, day = statistics.snapshot(NOW + 120)["timelines"]
    assert [five_minutes["name"], hour["name"], day["name"]] == ["5 min", "1 h", "24 h"]
    begins = np.array([five_minutes["start"] + 5 * i for i in range(60)])[
        : len(five_minutes["judged"])
    ]
    rates = dict(zip(begins, five_minutes["hit_rate"], strict=True))
    assert rates[NOW + 10] == 1.0
    assert rates[NOW + 70] == 0.0
    assert rates[NOW - 10] is None
    strong = dict(zip(begins, five_minutes["classes"]["strong"], strict=True))
    assert (strong[NOW + 10], strong[NOW + 70]) == (1.0, 0.0)
    assert dict(zip(begins, five_minutes["rate_hz"], strict=True))[NOW + 50] == 10.0
    assert sum(hour["judged"]) == sum(day["judged"]) == 1200


def test_its_size_does_not_grow_with_the_frames_it_has_seen():
    statistics = made(raster=(20, 20))
    shown = picture()

    def fill(first, seconds):
        for second in range(seconds):
            statistics.add(
                rows(
                    outcome(
                        i, NOW + first + 20 * second, series=f"s{first + second}", picture=shown
                    )
                    for i in range(5)
                )
            )
        return len(json.dumps(statistics.snapshot(NOW + first + 20 * seconds)))

    fill(0, 400)
    small = _size(statistics)
    length = fill(8000, 1500)
    assert _size(statistics) < 1.02 * small
    assert length < 60_000


def _size(thing, seen=None):
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    size = sys.getsizeof(thing)
    parts = []
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set)) or type(thing).__name__ == "deque":
        parts = list(thing)
    elif hasattr(thing, "__dict__"):
        parts = list(vars(thing).values())
    elif hasattr(thing, "__slots__") and not isinstance(thing, np.ndarray):
        parts = [getattr(thing, name, None) for name in thing.__slots__]
    return size + sum(_size(part, seen) for part in parts)


def test_series_tell_what_they_miss():
    statistics = made()
    statistics.notice(SeriesBegan(series="a", kind="file", expected=10), NOW)
    statistics.add(rows(outcome(i, NOW + 1, series="a") for i in [0, 1, 2, 5]))
    (series,) = statistics.snapshot(NOW + 1)["series"]
    assert (series["received"], series["missed"], series["ended"]) == (4, 2, False)
    statistics.count(RunCounts(missed=0, waiting=2, capacity=9, workers=1))
    assert statistics.snapshot(NOW + 1)["series"][0]["missed"] == 0  # those may yet be looked at
    statistics.count(RunCounts(missed=6, waiting=0, capacity=9, workers=1))
    statistics.notice(SeriesEnded(series="a"), NOW + 2)
    statistics.notice(SeriesBegan(series="a", kind="file", expected=10), NOW + 3)
    (series,) = statistics.snapshot(NOW + 3)["series"]
    assert (series["expected"], series["received"], series["missed"]) == (10, 4, 6)
    assert series["ended"]


def test_peaks_fall_on_the_part_of_the_detector_where_they_are():
    statistics = made()
    shown = picture(size=128, peaks=0)
    peaks = np.array([[0.0, 127.9], [64.0, 4.0], [64.0, 5.0], [-1.0, 3.0], [np.nan, 1.0], [9e9, 1]])
    shown = type(shown)(image=shown.image, valid=shown.valid, peaks=peaks)
    statistics.add(
        rows([outcome(0, NOW, picture=shown), outcome(1, NOW, picture=shown, label="blank")])
    )
    counts = np.array(statistics.snapshot(NOW)["map"]["peaks"]).reshape(32, 32)
    assert counts.sum() == 3
    assert (counts[0, 31], counts[16, 1]) == (1, 2)


@pytest.mark.parametrize("serpentine", [False, True])
def test_the_raster_shows_where_in_the_scan_hits_were(serpentine):
    statistics = made(raster=(3, 4), serpentine=serpentine)
    labels = ["good" if i in {1, 4, 11} else "blank" for i in range(12)]
    statistics.add(rows(outcome(i, NOW, label=label) for i, label in enumerate(labels[:10])))
    statistics.add(rows([outcome(11, NOW), outcome(12, NOW), outcome(10**12, NOW)]))
    raster = statistics.snapshot(NOW)["raster"]
    rates = [raster["rates"][4 * row : 4 * row + 4] for row in range(3)]
    second = [0, 0, 0, 1] if serpentine else [1, 0, 0, 0]
    assert rates == [[0, 1, 0, 0], second, [0, 0, None, 1]]
    statistics.add(rows([outcome(0, NOW, series="another")]))
    assert statistics.snapshot(NOW)["raster"]["rates"] == [1.0, *[None] * 11]


def test_a_large_raster_is_shown_in_cells_of_several_positions():
    statistics = made(raster=(130, 260))
    statistics.add(rows(outcome(i, NOW, label="good" if i % 2 else "blank") for i in range(1000)))
    raster = statistics.snapshot(NOW)["raster"]
    assert raster["shown"] == [26, 52]
    assert raster["positions_by_cell"] == 25
    assert raster["rates"][0] == pytest.approx(0.5, abs=0.1)


def test_the_latest_hits_are_kept_but_not_faster_than_eyes():
    statistics = made()
    shown = picture(size=32)
    given = rows(outcome(i, NOW + i / 100, picture=shown) for i in range(200))
    statistics.add(given)
    statistics.add(
        rows([outcome(300, NOW + 9, label="blank", picture=shown), outcome(301, NOW + 9)])
    )
    ids = [hit.id for hit in statistics.hits()]
    assert len(ids) == MOST
    assert ids == sorted(ids, reverse=True)
    in_first_quarter = [i for i in ids if i < given[24].sequence]
    assert len(ids) - len(in_first_quarter) <= 2 / 0.25


def test_a_snapshot_is_json_whatever_the_names_are():
    statistics = made(metadata={"source": "<b>&\udcff", "model": {"name": "x"}}, levels=(3.0, 9.0))
    statistics.notice(SeriesBegan(series="../../etc/passwd<script>" + "x" * 5000, kind="file"), NOW)
    text = json.dumps(statistics.snapshot(NOW), allow_nan=False)
    assert len(text) < 25_000


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="JSON"):
        made(metadata={"nan": float("nan")})
    with pytest.raises(InputError, match="gray levels"):
        made(levels=(9.0, 3.0))
    with pytest.raises(RecipeError, match="raster"):
        made(raster=(0, 5))
    with pytest.raises(RecipeError, match="raster"):
        made(raster=(10**6, 10**6))


def test_counting_costs_little():
    statistics = made(raster=(100, 100))
    given = rows(outcome(i, NOW + i / 1000) for i in range(5000))
    start = time.thread_time()
    statistics.add(given)
    # 200 frames/s have to leave the core to the model; measured: about 10 us a frame
    assert (time.thread_time() - start) / 5000 < 100e-6


def test_a_clock_that_is_set_back_hides_nothing_that_follows():
    statistics = made()
    statistics.add(rows(outcome(i, NOW, ms=5) for i in range(50)))
    earlier = NOW - 7200
    statistics.add(rows(outcome(i, earlier, ms=20) for i in range(50, 100)))
    found = statistics.snapshot(earlier + 1)
    assert found["latency_ms"]["p50"] == pytest.approx(20, rel=0.15)
    assert found["rate_hz"] == 5.0
    assert found["totals"]["frames"] == 100
    statistics.add(rows(outcome(i, NOW + 3600, ms=10) for i in range(100, 150)))  # and ahead
    assert statistics.snapshot(NOW + 3601)["latency_ms"]["p50"] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("ahead_s", [-1e9, -3600.0, -2.0, 1e4, 1e9])
def test_a_sender_whose_clock_is_wrong_is_not_believed(ahead_s):
    statistics = made()
    statistics.add(rows(outcome(i, NOW, ms=5, sent=NOW - ahead_s) for i in range(50)))
    latency = statistics.snapshot(NOW + 1)["latency_ms"]
    assert latency["since"] == "received"
    assert latency["p99"] == pytest.approx(5, rel=0.15)


def test_series_tell_what_is_not_known_of_them_and_no_wild_gap():
    statistics = made()
    statistics.notice(SeriesBegan(series="a", kind="dectris-v1", lacks=("start",)), NOW)
    wild = [0, 1, 999_999_999]
    statistics.add(rows(outcome(i, NOW, series="a", judged_without=("start",)) for i in wild))
    found = statistics.snapshot(NOW)
    assert found["series"][0]["lacks"] == ["start"]
    assert found["series"][0]["missed"] == 0
    (alarm,) = (alarm for alarm in found["alarms"] if alarm["name"] == "start missing")
    assert alarm["text"].startswith("3 of 3 frames classified without the detector's start or mask")
    statistics.notice(SeriesBegan(series="a", kind="dectris-v1", context=b"a start"), NOW)
    assert statistics.snapshot(NOW)["series"][0]["lacks"] == []
