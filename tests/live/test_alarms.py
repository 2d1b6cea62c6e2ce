"""Alarms, each on values that raise it and on values just below."""

import itertools

import numpy as np
import pytest

from deepfreak.errors import RecipeError
from deepfreak.live.messages import SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.statistics import Statistics
from deepfreak.live.statistics.alarms import Alarms, AlarmSettings, Readings
from deepfreak.live.statistics.counts import chance_of_fall, dispersion
from deepfreak.models.evaluation import Proportion
from tests.live.frame_outcomes import CLASSES, outcome, rows

NOW = 1_700_000_000.0


def names(alarms):
    return [alarm.name for alarm in alarms]


def standing(**readings):
    return names(Alarms().update(Readings(now=NOW, **readings)))


def test_the_chance_of_a_fall_is_fishers_exact_test():
    from scipy.stats import fisher_exact

    for before, recent in [((40, 200), (20, 210)), ((5, 10), (0, 12)), ((300, 900), (310, 900))]:
        table = [
            [recent[0], recent[1] - recent[0]],
            [before[0], before[1] - before[0]],
        ]
        expected = fisher_exact(table, alternative="less").pvalue
        assert chance_of_fall(Proportion(*before), Proportion(*recent)) == pytest.approx(expected)
    assert chance_of_fall(Proportion(0, 0), Proportion(0, 50)) == 1.0
    assert chance_of_fall(Proportion(0, 50), Proportion(0, 50)) == 1.0


def test_a_steady_hit_rate_raises_no_alarm_in_a_day_of_windows():
    rng = np.random.default_rng(4)
    kept = rng.binomial(3000, 0.2, 1441)
    raised = [
        chance_of_fall(Proportion(int(a), 3000), Proportion(int(b), 3000)) < 1e-6
        for a, b in itertools.pairwise(kept)
    ]
    assert not any(raised)


def test_clusters_of_crystals_are_no_fall():
    rng = np.random.default_rng(5)
    judged = np.full(12, 250)
    rates = rng.beta(1, 4, 24)  # crystals come in clusters
    kept = rng.binomial(250, rates)
    before, recent = Proportion(int(kept[:12].sum()), 3000), Proportion(int(kept[12:].sum()), 3000)
    spread = dispersion(kept[:12], judged)
    assert spread > 10
    assert chance_of_fall(before, recent, spread=spread) > 1e-3
    steady = rng.binomial(250, 0.2, 2000)
    assert dispersion(steady, np.full(2000, 250)) == pytest.approx(1.0, abs=0.1)
    assert dispersion(np.zeros(12, int), judged) == dispersion(np.zeros(0, int), judged[:0]) == 1.0


def test_a_fall_is_told_until_the_hit_rate_comes_back():
    alarms = Alarms()
    high, low = Proportion(600, 3000), Proportion(300, 3000)
    (alarm,) = alarms.update(Readings(now=NOW, before=high, recent=low))
    assert alarm.severity == "critical"
    assert "from 20 % to 10 %" in alarm.text
    assert "in 60 s" in alarm.text
    # soon both windows are low: it is not over for that
    (alarm,) = alarms.update(Readings(now=NOW + 120, before=low, recent=low))
    assert alarm.since == NOW
    alarms.update(Readings(now=NOW + 150, before=low, recent=high))
    assert alarms.update(Readings(now=NOW + 161, before=high, recent=high)) == ()


def test_what_has_fallen_for_long_is_the_new_normal():
    alarms = Alarms()
    high, low = Proportion(600, 3000), Proportion(300, 3000)
    alarms.update(Readings(now=NOW, before=high, recent=low))
    assert names(alarms.update(Readings(now=NOW + 899, before=low, recent=low)))
    assert not alarms.update(Readings(now=NOW + 910, before=low, recent=low))


def test_few_frames_prove_no_fall():
    assert not standing(before=Proportion(6, 30), recent=Proportion(0, 30))


@pytest.mark.parametrize(
    ("name", "raises", "almost"),
    [
        (
            "only blank frames",
            {"blank_s": 12, "blank_frames": 60},
            {"blank_s": 12, "blank_frames": 10},
        ),
        (
            "only blank frames",
            {"blank_s": 10, "blank_frames": 60},
            {"blank_s": 9, "blank_frames": 900},
        ),
        (
            "saturated frames",
            {"saturated": Proportion(2, 100)},
            {"saturated": Proportion(1, 100)},
        ),
        ("saturated frames", {"saturated": Proportion(2, 50)}, {"saturated": Proportion(5, 49)}),
        ("ice", {"ice": Proportion(20, 100)}, {"ice": Proportion(10, 100)}),
        ("unlike training", {"outside": Proportion(6, 100)}, {"outside": Proportion(5, 100)}),
        ("queue fills", {"waiting": 51, "capacity": 100}, {"waiting": 50, "capacity": 100}),
        ("frames dropped", {"dropped": Proportion(1, 900)}, {"dropped": Proportion(0, 900)}),
        (
            "no frames",
            {"open_series": "a", "silent_s": 11},
            {"open_series": "a", "silent_s": 9},
        ),
        ("no frames", {"open_series": "a", "silent_s": 11}, {"silent_s": 1e6}),
        (
            "source trouble",
            {"trouble": "connection lost", "trouble_s": 1},
            {"trouble": "connection lost", "trouble_s": 31},
        ),
    ],
)
def test_each_alarm_has_its_threshold(name, raises, almost):
    assert standing(**raises) == [name]
    assert standing(**almost) == []


def test_alarms_do_not_flicker_about_their_threshold():
    alarms = Alarms()
    seen = []
    for second in range(60):
        share = Proportion(11 if second % 2 else 9, 100)
        seen.append(names(alarms.update(Readings(now=NOW + second, ice=share))))
    assert seen[0] == []
    assert all(each == ["ice"] for each in seen[1:])
    (alarm,) = alarms.update(Readings(now=NOW + 68, ice=Proportion(4, 100)))
    assert alarm.text.startswith("over for 9 s: ice in")
    assert not alarms.update(Readings(now=NOW + 69, ice=Proportion(4, 100)))


def test_a_source_that_stays_silent_after_trouble_counts_as_lost():
    lost = Readings(now=NOW, trouble="connection lost", trouble_s=15, came_since=False, troubles=1)
    (alarm,) = Alarms().update(lost)
    assert alarm.severity == "critical"
    assert alarm.text == "nothing has come for 15 s since: connection lost"
    (alarm,) = Alarms().update(Readings(now=NOW, trouble="bad CBOR", trouble_s=1, troubles=7))
    assert alarm.severity == "warning"
    assert alarm.text == "7 times in 30 s, last: bad CBOR"


def test_the_gravest_alarm_stands_first_and_each_is_one_line():
    alarms = Alarms().update(
        Readings(
            now=NOW,
            ice=Proportion(20, 100),
            dropped=Proportion(5, 100),
            blank_s=99,
            blank_frames=99,
            workers=2,
        )
    )
    assert names(alarms) == ["only blank frames", "frames dropped", "ice"]
    assert all("\n" not in alarm.text and any(c.isdigit() for c in alarm.text) for alarm in alarms)


@pytest.mark.parametrize(
    "wrong", [{"window_s": 0.0}, {"max_ice": 1.5}, {"fell_chance": -1.0}, {"hold_s": float("nan")}]
)
def test_thresholds_that_cannot_be_are_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        AlarmSettings(**wrong)


def test_a_run_raises_its_alarms_from_outcomes_alone():
    statistics = Statistics(classes=CLASSES, levels=(5.0, 30.0), started=NOW)
    statistics.notice(SeriesBegan(series="run-1", kind="file"), NOW)
    rng = np.random.default_rng(6)

    def run(first, seconds, hit_rate, **more):
        for second in range(first, first + seconds):
            labels = np.where(rng.random(50) < hit_rate, "good", "no-crystal")
            statistics.add(
                rows(
                    outcome(50 * second + i, NOW + second + i / 50, label=label, **more)
                    for i, label in enumerate(labels)
                )
            )
        end = NOW + first + seconds
        return {alarm["name"] for alarm in statistics.snapshot(end)["alarms"]}

    assert run(0, 121, 0.3) == set()
    assert run(121, 61, 0.1) == {"hit rate fell"}
    assert run(182, 85, 0.3) == set()
    assert run(267, 60, 0.3, truth={"ice": True}) == {"ice"}
    assert run(327, 90, 0.3, truth={"ice": False}, saturated=True) >= {"saturated frames"}
    assert run(417, 90, 0.3, level=2.0) >= {"unlike training"}
    statistics.notice(SeriesEnded(series="run-1"), NOW + 507)
    assert statistics.snapshot(NOW + 700)["alarms"] == []
    assert statistics.snapshot(NOW + 700)["state"]["severity"] == "idle"


def test_a_closed_shutter_is_told_within_the_stated_time():
    statistics = Statistics(classes=CLASSES, started=NOW)
    told = None
    for second in range(40):
        label = "good" if second < 20 else "blank"
        statistics.add(rows(outcome(i, NOW + second + i / 10, label=label) for i in range(10)))
        state = statistics.snapshot(NOW + second + 1)["state"]
        if state["words"] == "only blank frames":
            told = told or second + 1
    assert told == 30


def test_trouble_at_a_source_is_shown_and_forgotten():
    statistics = Statistics(classes=CLASSES, started=NOW)
    statistics.notice(Trouble(message="expected CBOR, found <img src=x>"), NOW)
    (alarm,) = statistics.snapshot(NOW + 1)["alarms"]
    assert alarm["text"].endswith("<img src=x>")
    statistics.add(rows([outcome(0, NOW + 5)]))
    statistics.snapshot(NOW + 30)
    assert statistics.snapshot(NOW + 41)["alarms"] == []


def test_only_what_has_numbers_is_said_to_be_watched():
    blind = Statistics(classes=CLASSES, started=NOW)
    assert not {"ice", "unlike training"} & set(blind.snapshot(NOW)["watched"])
    seeing = Statistics(classes=CLASSES, levels=(1.0, 9.0), started=NOW)
    seeing.add(rows([outcome(0, NOW, truth={"ice": False})]))
    assert {"ice", "unlike training", "no frames"} <= set(seeing.snapshot(NOW)["watched"])
