"""Varied images: labels by the truth, what may be in them, and that they can be made again."""

import math
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from deepfreak.dataset import Dataset, draft_path, verify, worker_processes
from deepfreak.detector import CCD, PhotonCounting, largest_sin_theta
from deepfreak.errors import OutputError
from deepfreak.exchange.importing import REAL_CLASSES
from deepfreak.prepare import SIZE
from deepfreak.recipe import experiment_from, settings_of
from deepfreak.scattering.ice import Ice
from deepfreak.spots import count_spots
from deepfreak.varied import generate_varied, shot, varied_experiment, varied_image
from deepfreak.varied.light import KINDS, Plane, shading, stray_light

SEED, COUNT = 3, 23  # of two blocks
MIDDLE = (SIZE / 2, SIZE / 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("varied") / "varied.h5"
    return out, generate_varied(count=COUNT, seed=SEED, out=out)


@pytest.fixture(scope="module")
def data(made):
    with Dataset.open(made[0]) as opened:
        yield opened


@pytest.fixture(scope="module")
def experiments():
    return [varied_experiment(np.random.default_rng(seed)) for seed in range(12)]


def test_the_bytes_do_not_depend_on_workers(made, tmp_path):
    with worker_processes(2) as executor:
        assert isinstance(executor, ProcessPoolExecutor)
        generate_varied(count=COUNT, seed=SEED, out=tmp_path / "two.h5", executor=executor)
    assert (tmp_path / "two.h5").read_bytes() == made[0].read_bytes()


def test_a_run_that_was_broken_off_goes_on_to_the_same_bytes(made, tmp_path):
    out = tmp_path / "broken.h5"

    def stop(_done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_varied(count=COUNT, seed=SEED, out=out, advance=stop)
    assert not out.exists()
    with draft_path(out).open("r+b") as draft:
        draft.truncate(draft_path(out).stat().st_size - 5)  # the last image is torn
    with pytest.raises(OutputError, match="its seed is 3, not 4"):
        generate_varied(count=COUNT, seed=SEED + 1, out=out)
    done = []
    generate_varied(count=COUNT, seed=SEED, out=out, resume=True, advance=done.append)
    assert done == [shot.BLOCK - 1, 1, COUNT - shot.BLOCK]
    assert out.read_bytes() == made[0].read_bytes()


def test_an_image_follows_from_seed_and_index_in_any_order(data):
    for index in (21, 4, 20):
        label, image, truth = varied_image(SEED, index)
        assert label == data.labels[index]
        assert truth.spots_5sigma == data.truth["spots_5sigma"][index]
        np.testing.assert_array_equal(image, data.images[index])
    assert not np.array_equal(varied_image(SEED + 1, 4)[1], data.images[4])


def test_labels_are_never_ambiguous_by_the_truth(data):
    assert data.classes == REAL_CLASSES
    shows = data.labels == 1
    assert 5 <= shows.sum() <= COUNT - 5
    assert (data.truth["spots_5sigma"][shows] >= 6).all()
    assert (data.truth["crystal_volume_mm3"][shows] > 0).all()
    for nothing in ("spots_3sigma", "bragg_photons", "crystal_volume_mm3", "lattices"):
        assert (data.truth[nothing][~shows] == 0).all()


def test_the_manifest_tells_how_it_was_made_and_verify_proves_it(made, data):
    manifest = data.manifest
    assert manifest == made[1]
    assert (manifest["seed"], manifest["count"]) == (SEED, COUNT)
    assert manifest["varied"]["version"] == "varied-2"
    assert set(manifest["versions"]) >= {"deepfreak", "numpy"}
    proof = verify(made[0], rng=np.random.default_rng(0), sample=2)
    assert (proof.problems, proof.simulated, proof.rule) == ((), 2, "equal bytes")


def test_images_of_an_earlier_kind_are_not_compared_with_todays(made, monkeypatch):
    monkeypatch.setattr("deepfreak.varied.experiment.LABEL_VERSION", "varied-9")
    (problem,) = verify(made[0], rng=np.random.default_rng(0), sample=2).problems
    assert "of the kind varied-2, and this deepfreak makes varied-9" in problem


def test_a_crystal_is_as_bright_as_asked_beside_the_edge_of_visibility():
    experiment = varied_experiment(np.random.default_rng(24))
    drawn = experiment.draw(seed=0, index=0)
    background = np.full((SIZE, SIZE), 10, np.float32)
    bragg = np.zeros_like(background)
    bragg[40:480:40, 40] = 2.0 ** np.arange(11)

    def spots(factor):
        light = np.float32(factor) * bragg
        return count_spots(light, background, experiment.detector, 1.0).above_5_sigma

    edge = shot._brightness(bragg, background, drawn, 1.0)
    assert spots(edge) == 6
    assert spots(edge / 1.5) < 6
    assert shot._brightness(bragg, background, drawn, 10.0) == pytest.approx(10 * edge)
    # no image is brighter than a detector bears
    largest = shot._brightness(bragg, background, drawn, 1e9)
    assert largest * bragg.max() == pytest.approx(shot.BRIGHTEST_PHOTONS)
    bragg[280:] = 0  # leaves five
    bragg[240, 40] = 0
    assert shot._brightness(bragg, background, drawn, 1.0) is None
    assert shot._brightness(0 * bragg, background, drawn, 1.0) is None


def test_experiments_are_whole_and_vary_as_said(experiments):
    for experiment in experiments:
        assert experiment.classes.names == REAL_CLASSES
        assert experiment.detector.image_size == (SIZE, SIZE)
        assert experiment_from(settings_of(experiment)) == experiment
        assert 0.6 <= experiment.beam.wavelength_A <= 2.3
        finest = experiment.beam.wavelength_A / (2 * largest_sin_theta(experiment.detector))
        assert 1.19 <= finest <= 5.01
        assert max(experiment.crystal.structure.cell[:3]) <= 300
        a, b, c = experiment.crystal.structure.cell[:3]
        assert a * b * c < 4e5 * finest**3
    kinds = {type(experiment.detector.response) for experiment in experiments}
    assert kinds == {CCD, PhotonCounting}
    matters = {matter.material for each in experiments for matter in each.background}
    assert matters == {"water", "air", "ice"}
    grains = {m.grains for each in experiments for m in each.background if isinstance(m, Ice)}
    assert grains == {"powder", "spots"}
    for vary in ("beam.wavelength_A", "detector.pixel_size_mm", "crystal.structure.space_group"):
        values = {_setting(experiment, vary) for experiment in experiments}
        assert len(values) > 6, vary


def _setting(experiment, path):
    value = experiment
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_each_kind_of_stray_light_occurs_and_is_light():
    plane = Plane.about((250.0, 270.0))
    seen, counts = set(), []
    for seed in range(40):
        light, kinds = stray_light(plane, np.random.default_rng(seed))
        assert light.shape == (SIZE, SIZE)
        assert light.dtype == np.float32
        assert np.isfinite(light).all()
        assert light.min() >= 0
        assert (light.max() > 0) == bool(kinds)
        seen |= kinds
        counts.append(len(kinds))
    assert seen == {kind.name for kind in KINDS}
    assert 0 in counts


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.name != "powder"], ids=lambda kind: kind.name
)
def test_what_is_no_powder_looks_the_same_from_opposite_sides(kind):
    plane = Plane.about(MIDDLE)
    for seed in range(4):
        light = kind.draw(plane, np.random.default_rng(seed))
        np.testing.assert_allclose(light, light[::-1, ::-1], rtol=1e-3, atol=1e-3 * light.max())


@pytest.mark.parametrize("arc", [0.0, 6.0])
def test_a_grainy_ring_has_the_light_of_a_smooth_one(arc):
    from deepfreak.varied.light import _bell, _grainy_ring

    plane, rng = Plane.about(MIDDLE), np.random.default_rng(0)
    smooth = 5 * _bell((plane.radius - 150) / 3)
    grainy = _grainy_ring(plane, rng, 150.0, 3.0, height=5.0, grains=8.0, arc=arc)
    assert grainy.sum() == pytest.approx(smooth.sum(), rel=0.05)
    assert (plane.radius[grainy > 0] - 150).mean() == pytest.approx(0, abs=0.5)
    # light is where the ring is, and lumpy
    on_ring = abs(plane.radius - 150) < 1
    assert grainy[on_ring].mean() == pytest.approx(smooth[on_ring].mean(), rel=0.15)
    # arcs smear what single grains leave
    assert grainy[on_ring].std() > (1.5 if arc else 2) * smooth[on_ring].std()


def test_shading_is_mostly_nothing_and_never_darkness():
    plane = Plane.about(MIDDLE)
    factors = [shading(plane, np.random.default_rng(seed)) for seed in range(40)]
    assert 12 < sum(factor.size == 1 for factor in factors) < 36
    assert all(0.04 < factor.min() <= factor.max() < 3 for factor in factors)


def test_images_are_what_prepare_makes_of_a_detectors_counts():
    nothing = np.zeros((SIZE, SIZE), np.float32)
    seen = set()
    for block in range(40):
        setup = shot.setup_of(8, block)
        response = setup.experiment.detector.response
        if type(response) in seen or setup.pedestal_off:
            continue
        seen.add(type(response))
        drawn = setup.experiment.draw(seed=8, index=0)
        rng = np.random.default_rng(1)
        _, dark, truth = shot._exposed(setup, drawn, nothing, nothing, rng)
        _, light, _ = shot._exposed(setup, drawn, nothing, nothing + 400, rng)
        gain = setup.counts_per_photon
        if isinstance(response, PhotonCounting):
            assert np.quantile(dark, 0.99) == dark.min() == math.floor(math.sqrt(10))
        else:
            assert np.square(dark + 0.5).mean() == pytest.approx(10, abs=4 + 40 * gain)
        assert np.median(light) == pytest.approx(math.sqrt(400 * gain + 10), abs=1.5)
        assert truth.background_photons == 0
        if len(seen) == 2:
            return
    pytest.fail("one kind of detector in forty")
