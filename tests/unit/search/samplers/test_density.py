from itertools import permutations

import numpy as np
import pytest

from deepfreak.search.samplers.density import Density, DensityPair, bandwidths, filled, split

from .frozen import array, traces

HISTORIES = [trace for trace in traces("hpbandster_densities") if "good" in trace]
IDS = [f"{trace['space']} {len(trace['losses'])}" for trace in HISTORIES]


@pytest.mark.parametrize("trace", traces("statsmodels_kernels"))
def test_densities_are_those_of_statsmodels(trace):
    density = Density(
        array(trace["points"]), array(trace["bandwidths"]), np.array(trace["choices"])
    )
    assert density(array(trace["vectors"])) == pytest.approx(trace["densities"], rel=1e-10)


@pytest.mark.parametrize("trace", traces("statsmodels_kernels"))
def test_bandwidths_are_statsmodels_normal_reference_up_to_two_choices(trace):
    choices = np.array(trace["choices"])
    ours = bandwidths(array(trace["points"]), choices)
    same = choices <= 2
    assert ours[same] == pytest.approx(array(trace["normal_reference"])[same], rel=1e-10)


@pytest.mark.parametrize("trace", traces("hpbandster_densities"))
def test_a_model_exists_as_soon_as_in_hpbandster(trace):
    vectors, losses = array(trace["vectors"]), array(trace["losses"], none=np.inf)
    has_model = [
        fit(trace, vectors[:count], losses[:count]) is not None
        for count in range(1, len(losses) + 1)
    ]
    assert has_model == trace["has_model"]


@pytest.mark.parametrize("trace", HISTORIES, ids=IDS)
def test_good_and_bad_points_are_those_of_hpbandster(trace):
    vectors, losses = array(trace["vectors"]), array(trace["losses"], none=np.inf)
    good, bad = split(losses, min_points=trace["min_points"], good_percent=15)
    for chosen, theirs in ((good, array(trace["good"])), (bad, array(trace["bad"]))):
        ours = vectors[chosen]
        known = ~np.isnan(ours)
        assert ours.shape == theirs.shape
        assert ours[known] == pytest.approx(theirs[known], rel=1e-12)


@pytest.mark.parametrize("trace", HISTORIES, ids=IDS)
@pytest.mark.parametrize("which", ["good", "bad"])
def test_bandwidths_are_those_of_hpbandster_up_to_two_choices(trace, which):
    choices = np.array(trace["choices"])
    ours = np.maximum(bandwidths(array(trace[which]), choices), 1e-3)
    same = choices <= 2
    assert ours[same] == pytest.approx(array(trace[f"{which}_bandwidths"])[same], rel=1e-10)


def model_of(trace):
    choices = np.array(trace["choices"])
    return DensityPair(
        *(
            Density(array(trace[which]), array(trace[f"{which}_bandwidths"]), choices)
            for which in ("good", "bad")
        )
    )


@pytest.mark.parametrize(
    "trace", [t for t in HISTORIES if max(t["choices"]) <= 2 and len(t["losses"]) > 9]
)
def test_candidates_are_worth_what_they_are_to_hpbandster_and_the_same_is_chosen(trace):
    worth = model_of(trace).worth(array(trace["candidates"]))
    assert worth == pytest.approx(trace["worth"], rel=1e-8)
    assert worth.argmax() == np.argmax(trace["worth"])


def test_many_choices_turn_hpbandsters_density_negative_but_not_ours():
    trace = next(t for t in HISTORIES if t["space"] == "topology")
    assert max(trace["good_bandwidths"]) > 1
    assert min(trace["good_densities"]) < 0
    choices = np.array(trace["choices"])
    points = array(trace["good"])
    ours = Density(points, bandwidths(points, choices), choices)
    assert (ours.bandwidths[choices > 0] <= 1 - 1 / choices[choices > 0]).all()
    assert (ours(array(trace["candidates"])) > 0).all()


def test_a_choice_that_never_occurred_has_a_finite_density():
    density = Density(np.zeros((5, 1)), np.array([0.3]), np.array([4]))
    everywhere = density(np.arange(4.0)[:, None])
    assert everywhere == pytest.approx([0.7, 0.1, 0.1, 0.1])


def test_the_order_of_choices_does_not_matter():
    rng = np.random.default_rng(0)
    points = rng.choice(5, size=(4000, 1), p=[0.9, 0.05, 0.05, 0, 0]).astype(float)
    relabelled = np.array([3, 0, 4, 1, 2])[points.astype(int)].astype(float)
    choices = np.array([5])
    assert bandwidths(relabelled, choices) == pytest.approx(bandwidths(points, choices))


def test_the_last_share_is_rounded_down_so_that_the_worst_may_be_in_neither():
    good, bad = split(np.arange(50.0), min_points=4, good_percent=15)
    assert good.tolist() == list(range(7))
    assert bad.tolist() == list(range(7, 49))


def test_ties_are_kept_in_order():
    good, bad = split(np.array([np.inf, 1, np.inf, 1, 1, 0]), min_points=3, good_percent=15)
    assert good.tolist() == [5, 1, 3]
    assert (
        bad.tolist()
        == [
            4,
            0,
            2,
        ][: len(bad)]
    )


def test_the_spread_of_choices_is_that_of_their_indices_averaged_over_all_orders():
    indices = np.array([0, 0, 0, 1, 1, 3, 3, 3, 3, 3])
    variances = [np.array(order)[indices].var() for order in permutations(range(4))]
    # enough of them that the bandwidth is below its limit
    points = np.repeat(indices, 2000)[:, None].astype(float)
    expected = 1.06 * np.sqrt(np.mean(variances)) * len(points) ** -0.2
    assert bandwidths(points, np.array([4])) == pytest.approx([expected])


def test_draws_follow_the_widened_kernels_and_stay_inside():
    from scipy.stats import kstest, truncnorm

    point = np.array([[0.2, 2.0]])
    density = Density(point, np.array([0.1, 0.3]), np.array([0, 5]))
    drawn = density.around(np.random.default_rng(1), 20_000, widened=3)
    law = truncnorm(-0.2 / 0.3, 0.8 / 0.3, loc=0.2, scale=0.3)
    assert kstest(drawn[:, 0], law.cdf).pvalue > 0.01
    shares = np.bincount(drawn[:, 1].astype(int), minlength=5) / len(drawn)
    assert shares == pytest.approx([0.06, 0.06, 0.76, 0.06, 0.06], abs=0.01)


def test_what_does_not_exist_is_taken_from_a_point_that_has_it():
    nan = np.nan
    points = np.array([[0, nan, nan], [1, 0.3, nan], [2, nan, nan], [3, 0.6, nan]])
    complete = filled(points, np.array([0, 0, 4]), np.random.default_rng(0))
    assert set(complete[:, 1]) <= {0.3, 0.6}
    assert (complete[[1, 3], 1] == [0.3, 0.6]).all()
    assert set(complete[:, 2]) <= {0, 1, 2, 3}


def test_the_first_parameter_is_filled_too():
    points = np.array([[np.nan, 0.1], [0.5, 0.2]])
    complete = filled(points, np.array([0, 0]), np.random.default_rng(0))
    assert complete[0, 0] == 0.5


def fit(trace, vectors, losses):
    return DensityPair.fit(
        vectors,
        losses,
        np.array(trace["choices"]),
        min_points=trace["min_points"],
        good_percent=15,
        min_bandwidth=1e-3,
        rng=np.random.default_rng(0),
    )
