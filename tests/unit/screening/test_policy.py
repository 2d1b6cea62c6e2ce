import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from deepfreak.errors import InputError, ModelError
from deepfreak.screening.calibration import (
    Calibration,
    read_calibration,
    thresholds,
    together,
    write_calibration,
)
from deepfreak.screening.policy import (
    MAX_EMPTY_KEPT,
    MIN_HIT_RECALL,
    SURELY_NO,
    SURELY_YES,
    find_policy,
    policy_from,
)


def scores(hits, empties, **changes) -> Calibration:
    at = thresholds()
    hits, empties = np.sort(hits), np.sort(empties)
    made = Calibration(
        model="m",
        data="d",
        simulated=True,
        hits=len(hits),
        empties=len(empties),
        hits_below=tuple(np.searchsorted(hits, at).tolist()),
        empties_from=tuple((len(empties) - np.searchsorted(empties, at)).tolist()),
        levels=(1.0, 2.0),
    )
    return replace(made, **changes)


@pytest.fixture
def good():
    rng = np.random.default_rng(0)
    hits = 1 / (1 + np.exp(-rng.normal(6, 2, 12_000)))
    empties = 1 / (1 + np.exp(-rng.normal(-6, 2, 9_000)))
    return hits, empties


@pytest.mark.parametrize("recall", [0.9, 0.99, 0.999])
def test_losses_are_within_what_is_accepted(good, recall):
    hits, empties = good
    policy = policy_from(scores(hits, empties), min_hit_recall=recall)
    lost = np.mean([policy.decide(p) == "discard" for p in hits])
    assert lost == pytest.approx(1 - policy.hit_recall[0])
    assert policy.hit_recall[1] >= recall
    # as much as allowed is discarded: one step more would break the limit
    at = thresholds()
    further = at[np.searchsorted(at, policy.discard_below) + 1]
    count = int((hits < further).sum())
    assert binom.cdf(count, len(hits), 1 - recall) > 0.05
    assert np.mean([policy.decide(p) == "keep" for p in empties]) <= MAX_EMPTY_KEPT
    assert policy.discard_below <= policy.keep_from


def test_the_promise_holds_as_often_as_it_says():
    """Of many measurements of the same model, at most 5 % allow a threshold that loses more."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(400):
        odds = rng.logistic(5, 1, 2_000)
        policy = policy_from(
            scores(1 / (1 + np.exp(-odds)), np.full(100, 1e-6)), min_hit_recall=0.99
        )
        threshold = np.log(policy.discard_below / (1 - policy.discard_below))
        true_loss = 1 / (1 + np.exp(-(threshold - 5)))
        broken += true_loss > 0.01
    assert broken <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    assert broken > 0  # otherwise it would be needlessly careful


def test_what_images_cannot_prove_is_refused(good):
    hits, empties = good
    with pytest.raises(
        InputError, match="takes at least 29956 labelled hits to prove, found 12000"
    ):
        policy_from(scores(hits, empties), min_hit_recall=0.9999)
    with pytest.raises(InputError, match="takes at least 299 labelled hits"):
        policy_from(scores(hits[:200], empties), min_hit_recall=0.99)


def test_a_model_that_sees_nothing_is_refused():
    blind = scores(np.zeros(5000), np.zeros(5000))
    with pytest.raises(InputError, match="cannot be had"):
        policy_from(blind, min_hit_recall=0.99)


def test_one_that_takes_everything_for_a_hit_keeps_nothing_without_doubt():
    policy = policy_from(scores(np.full(5000, 0.99), np.full(5000, 0.99)))
    assert policy.decide(0.99) == "unsure"


@pytest.mark.parametrize("recall", [0.9, 0.99, 0.999])
def test_without_scores_of_this_detector_there_is_always_a_band_of_unsure(good, recall):
    hits, empties = good
    for spread in (1, 3):  # a good model, and one without an error on its images
        of_others = scores(hits ** (1 / spread), empties**spread)
        own = policy_from(of_others, min_hit_recall=recall)
        policy = policy_from(of_others, min_hit_recall=recall, of_detector=False)
        assert policy.discard_below <= min(SURELY_NO, own.discard_below)
        assert policy.keep_from >= SURELY_YES
        assert policy.empty_kept[1] <= MAX_EMPTY_KEPT
        assert [policy.decide(p) for p in (0.1, 0.5, 0.924, 0.97)] == ["unsure"] * 4
        assert policy.decide(0.0) == "discard"
        assert policy.decide(1.0) == "keep"
        # the line about lost hits describes the thresholds in use
        lost = np.mean(hits ** (1 / spread) < policy.discard_below)
        assert lost == pytest.approx(1 - policy.hit_recall[0])


def test_without_scores_of_this_detector_nothing_is_promised_about_it(good):
    policy = policy_from(scores(*good), of_detector=False)
    for told in ("not known", "12000 hits of simulated frames", "not on this detector", "--scores"):
        assert told in policy.promise()
    assert policy.to_json()["of_detector"] is False
    own = policy_from(scores(*good))
    assert "at most 0.500% of hits are discarded" in own.promise()
    assert "not on this detector" not in own.promise()


def test_a_model_of_evidence_has_the_thresholds_of_its_own_scores(good):
    hits, empties = good
    made = scores(hits, empties, kind="evidence")
    policy = policy_from(made, of_detector=False, hit_share=0.4)
    images = policy_from(scores(hits, empties))
    # these scores are separated better than required: both limits hold on both sides of the band
    assert policy.discard_below < policy.keep_from
    assert policy.keep_from == images.discard_below
    assert policy.hit_recall[1] >= MIN_HIT_RECALL
    assert policy.empty_kept[1] <= MAX_EMPTY_KEPT
    assert np.mean(hits < policy.discard_below) == pytest.approx(1 - policy.hit_recall[0])
    # an overlap leaves them as they are: 0.5 % of the hits, 2 % of the misses
    blurred = scores(hits**3, 1 - (1 - empties) ** 30, kind="evidence")
    policy, same = (
        policy_from(blurred, of_detector=False),
        policy_from(replace(blurred, kind="images")),
    )
    assert policy.discard_below == same.discard_below < policy.keep_from == same.keep_from
    assert "not on this detector" in policy.promise()


def test_the_prior_is_told(good):
    assert "p_crystal is for 40% hits" in policy_from(scores(*good), hit_share=0.4).promise()
    assert "p_crystal is for" not in policy_from(scores(*good)).promise()


def test_scores_that_ship_are_found_for_the_model_that_ships_only(tmp_path):
    class Other:
        name = "other 1"
        classes = ("no-diffraction", "diffraction")

    with pytest.raises(ModelError, match="expected scores of other 1"):
        find_policy(Other())
    with pytest.raises(ModelError, match="model's scores in own.onnx.calibration.json, found none"):
        find_policy(Other(), model=tmp_path / "own.onnx")
    write_calibration(
        scores(np.full(2000, 0.9), np.full(99, 0.1), model="other 1"),
        tmp_path / "own.onnx.calibration.json",
    )
    policy, found = find_policy(Other(), model=tmp_path / "own.onnx")
    assert (policy.of_detector, found.hits) == (False, 2000)
    given = tmp_path / "own.onnx.calibration.json"
    assert find_policy(Other(), scores=given)[0].of_detector


def test_the_promise_says_for_which_frames_it_holds(good):
    simulated = policy_from(scores(*good))
    measured = policy_from(scores(*good, simulated=False))
    assert "simulated frames" in simulated.promise()
    assert "simulated" not in measured.promise()
    assert "12000 hits" in simulated.promise()


def test_scores_come_back_from_their_file(good, tmp_path):
    made = scores(*good)
    write_calibration(made, tmp_path / "m.calibration.json")
    assert read_calibration(tmp_path / "m.calibration.json", model="m") == made


def test_scores_of_several_sets_are_those_of_all_their_images(good):
    hits, empties = good
    parts = [scores(hits[:5000], empties[:100]), scores(hits[5000:], empties[100:])]
    whole = scores(hits, empties)
    assert replace(together(parts), data="d") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v | {"model": "other"}, "scores of m "),
        (lambda v: v | {"hits_below": [5, 3]}, "expected scores"),
        (lambda v: v | {"hits": -1}, "expected scores"),
        (lambda v: v | {"empties_from": v["hits_below"]}, "expected scores"),
        (lambda v: [v], "found other text"),
        (lambda v: v | {"format_version": 2}, "format version 1 in m.calibration.json, found v"),
        (lambda v: v | {"format": "deepfreak shots"}, "found version 1 of deepfreak shots"),
        (lambda _: {"format": 1}, "found version None of 1"),
    ],
)
def test_scores_that_cannot_be_are_refused(good, tmp_path, change, message):
    path = tmp_path / "m.calibration.json"
    write_calibration(scores(*good), path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ModelError, match=message):
        read_calibration(path, model="m")


def test_scores_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(ModelError, match="deepfreak model calibrate"):
        read_calibration(tmp_path / "none.calibration.json", model="m")
