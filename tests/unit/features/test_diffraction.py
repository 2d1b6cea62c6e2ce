from dataclasses import replace

import numpy as np
import pytest

from deepfreak.encoding import (
    to_8_bits,
)
from deepfreak.errors import FrameError, ModelError
from deepfreak.features import extractor_from
from deepfreak.features.diffraction import Diffraction
from deepfreak.features.peaks import find_peaks
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.noise import (
    detect,
)
from deepfreak.physics.recipe import load_recipe
from tests.unit.features.test_background import measured
from tests.unit.features.test_peaks import HALO, grid_of_places, with_spots

EXTRACT = Diffraction()


def statistics(image, valid=None):
    return dict(zip(EXTRACT.names, EXTRACT(image, valid), strict=True))


@pytest.fixture(scope="module")
def shot():
    """Return the expected photons of one crystal and of its background, at 1e12 photons."""
    experiment = load_recipe("diffranet")
    index = next(i for i in range(50) if experiment.draw(seed=8, index=i).class_name == "weak")
    drawn = replace(experiment.draw(seed=8, index=index), photons=1e12)
    return bragg_photons(drawn), background_photons(drawn), experiment.detector


def expose(shot, *, crystal=1.0, pulse=1.0, seed=1):
    spots, background, detector = shot
    expected = (pulse * (crystal * spots + background)).astype(np.float32)
    return to_8_bits(detect(expected, detector, np.random.default_rng(seed)))


def test_every_number_has_a_name_of_its_own():
    assert len(set(EXTRACT.names)) == len(EXTRACT.names) == len(EXTRACT(measured(HALO)))
    assert EXTRACT.names[0] == "background_photons_log10"
    assert "peaks_over_5_sigma_log10" in EXTRACT.names


def test_light_over_the_background_grows_with_the_crystal(shot):
    small, large = (statistics(expose(shot, crystal=size)) for size in (1, 4))
    for sigma in (3, 5, 8):
        name = f"excess_over_{sigma}_sigma_log10"
        # log10(4) is 0.60, and more of the faint spots are seen
        assert 0.55 < large[name] - small[name] < 1.3
    assert large["background_photons_log10"] == pytest.approx(
        small["background_photons_log10"], abs=0.01
    )


def test_light_over_the_background_is_the_same_for_any_pulse(shot):
    faint, bright = (statistics(expose(shot, crystal=4, pulse=pulse)) for pulse in (0.5, 2))
    assert bright["background_photons_log10"] - faint["background_photons_log10"] == pytest.approx(
        np.log10(4), abs=0.01
    )
    for name in ("excess_over_3_sigma_log10", "pixels_over_1_background_log10"):
        assert bright[name] == pytest.approx(faint[name], abs=0.12)


def test_counts_are_those_of_the_peaks():
    image = measured(with_spots(grid_of_places(), 1500))
    found, peaks = statistics(image), find_peaks(image)
    scale = 512 * 512 / image.size
    for sigma in (5, 8, 20):
        expected = np.log10(1 + scale * np.count_nonzero(peaks.height_sigma >= sigma))
        assert found[f"peaks_over_{sigma}_sigma_log10"] == pytest.approx(expected)
    assert found["peak_height_q100_sigma_log10"] == pytest.approx(np.log10(peaks.height_sigma[0]))
    assert found["peak_size_mean_px"] == pytest.approx(peaks.size_px.mean())


def test_an_image_without_spots_has_no_peaks_in_any_number():
    found = statistics(measured(HALO))
    assert found["peaks_over_5_sigma_log10"] == 0
    assert found["peak_height_q50_sigma_log10"] == 0
    assert found["excess_over_5_sigma_log10"] == -6
    assert found["cell_excess_q50_log10"] < -3


def test_one_patch_of_spots_is_told_from_spots_everywhere():
    places = grid_of_places()
    everywhere = statistics(measured(with_spots(places, 3000)))
    corner = statistics(measured(with_spots(places[np.all(places < 140, axis=1)], 3000)))
    assert everywhere["cell_excess_largest_share"] < 0.1 < corner["cell_excess_largest_share"]
    assert everywhere["cell_excess_q25_log10"] > corner["cell_excess_q25_log10"] + 1


def test_statistics_are_those_of_the_valid_part():
    image = measured(with_spots(grid_of_places(), 1500))
    valid = np.ones(image.shape, np.bool_)
    valid[:, :128] = False
    masked = statistics(image, valid)
    for fill in (0, 255):
        np.testing.assert_array_equal(
            EXTRACT(np.where(valid, image, fill).astype(np.uint8), valid), EXTRACT(image, valid)
        )
    # a third less of the same: numbers are those of an image of the standard size
    whole = statistics(image)
    assert masked["peaks_over_5_sigma_log10"] == pytest.approx(
        whole["peaks_over_5_sigma_log10"], abs=0.05
    )


@pytest.mark.parametrize("level", [0, 3, 255])
@pytest.mark.parametrize("shape", [(512, 512), (3, 3), (40, 1000)])
def test_numbers_are_finite_whatever_the_image(level, shape):
    image = np.full(shape, level, np.uint8)
    image[0, 0] = 255 - level
    assert np.isfinite(EXTRACT(image)).all()
    valid = np.zeros(shape, np.bool_)
    valid[-1, -1] = True
    assert np.isfinite(EXTRACT(image, valid)).all()


def test_numbers_are_finite_for_noise_of_any_kind():
    rng = np.random.default_rng(3)
    for image in (
        rng.integers(0, 256, (200, 300), dtype=np.uint8),
        (255 * (rng.random((200, 300)) < 0.5)).astype(np.uint8),
        np.repeat(rng.integers(0, 256, (200, 1), dtype=np.uint8), 300, axis=1),
    ):
        assert np.isfinite(EXTRACT(image)).all()


def test_settings_make_the_same_extractor_again():
    assert extractor_from(EXTRACT.settings(), EXTRACT.arrays()) == EXTRACT


@pytest.mark.parametrize("settings", [{}, {"definition": 2}, {"definition": 1, "radius": 3}])
def test_another_definition_is_refused(settings):
    with pytest.raises(ModelError, match="definition 1"):
        Diffraction.from_settings(settings, {})


def test_an_image_without_valid_pixels_is_refused():
    with pytest.raises(FrameError, match="valid pixel"):
        EXTRACT(measured(HALO), np.zeros(HALO.shape, np.bool_))


def test_frames_with_spots_have_more_peaks_than_frames_with_rings(shared):
    from deepfreak.formats import open_frames
    from deepfreak.preparation import prepare

    def count(name):
        with open_frames(shared / "real" / name) as file:
            prepared = prepare(file.read(0))
        return len(find_peaks(prepared.image, prepared.valid))

    spots = (
        count("ximg2700_00001.cbf"),
        count("in16c_010001.cbf"),
        count("snc_newhead_00001.img.bz2"),
    )
    rings = count("Mn23-1_diffScan_0167.tif"), count("P40_1_3_00000.tif")
    assert min(spots) > 100
    assert max(rings) < 10
