"""Activation maps: over the pictures of a page, and on the spots of a shot."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from deepfreak.cli import main
from deepfreak.encoding import to_8_bits
from deepfreak.formats import Frame
from deepfreak.models import load_model
from deepfreak.networks.export import export_onnx
from deepfreak.physics.detector import CCD
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.noise import detect
from deepfreak.physics.recipe import load_recipe
from deepfreak.reports.palette import ACTIVATION_RGB
from deepfreak.reports.pictures import MAX_OPAQUE, tint
from deepfreak.reports.verdicts import GalleryItem, write_verdict_page
from deepfreak.screening.screener import Screener
from tests.unit.formats import made
from tests.unit.networks.served import Pointed, model_of
from tests.unit.screening.test_screening import Brightness, frame

# Of each shot's image, those where Bragg light is clearest.
SPOT_PIXELS = 500


@pytest.fixture(scope="module")
def pointed(tmp_path_factory):
    """A file with a network that sees spots, by weights that were set by hand."""
    path = tmp_path_factory.mktemp("pointed") / "pointed.onnx"
    export_onnx(model_of(Pointed(), side=512), path)
    return path


def layer(uri):
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))


def shots(class_name, count):
    """Yield images of shots of a class, with their Bragg photons and the noise of these."""
    experiment = load_recipe("diffranet")
    response = experiment.detector.response
    assert isinstance(response, CCD)
    index = 0
    while count:
        shot = experiment.draw(seed=31, index=index)
        index += 1
        if shot.class_name != class_name:
            continue
        count -= 1
        spots, background = bragg_photons(shot), background_photons(shot)
        counts = detect(spots + background, experiment.detector, shot.noise_generator())
        yield to_8_bits(counts), spots, np.sqrt(background + response.readout_noise_adu**2)


def over_image(activation):
    """Return the map on each pixel of an image of 512 x 512."""
    return np.kron(activation, np.ones([512 // side for side in activation.shape]))


def contrast(activation, on_spot):
    """Return how much higher a map is on spots than at the same distance from the middle.

    In standard deviations at that distance; spots and everything else are denser at the middle.
    """
    ring = np.hypot(*(np.indices(on_spot.shape) - 255.5)).astype(int) // 16
    count = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), weights=activation.ravel()) / count
    above = activation - mean[ring]
    return above[on_spot].mean() / above.std()


def maps_of(model, class_name, count):
    """Yield the map of a class on shots of it, and where their spots are."""
    for image, spots, noise in shots(class_name, count):
        _, maps = model.look(image[None])
        clarity = spots / noise
        on_spot = clarity > np.sort(clarity, axis=None)[-SPOT_PIXELS]
        yield over_image(maps[0, model.classes.index(class_name)]), on_spot


def test_a_map_lights_up_on_the_spots_of_a_shot(pointed):
    found = [
        [contrast(turned, on_spot) for turned in (activation, activation[::-1], activation.T)]
        for class_name in ("good", "strong")
        for activation, on_spot in maps_of(load_model(pointed), class_name, 2)
    ]
    assert min(right for right, *_ in found) > 2
    # a reflected one does not
    assert np.max(found, axis=0)[1:].max() < 0.5


def test_a_verdict_has_its_map_only_where_it_was_asked_for(pointed):
    model = load_model(pointed)
    assert Screener(model)(frame(150)).activation is None
    assert Screener(Brightness(), pictures=True)(frame(150)).activation is None
    counts = made.photons(shape=(512, 512))
    shot = Frame(file="a", index=0, counts=counts, valid=np.ones(counts.shape, np.bool_))
    verdict = Screener(model, pictures=True)(shot)
    assert verdict.probabilities == Screener(model)(shot).probabilities
    label = model.classes.index(verdict.label)
    _, maps = model.look(verdict.image[None], verdict.valid[None])
    np.testing.assert_array_equal(verdict.activation, maps[0, label])


def test_the_layer_is_most_opaque_where_most_spoke_for_the_verdict():
    activation = np.array([[-3, 0, 1], [2, 4, -0.5]], np.float32)
    found = layer(tint(activation))
    assert found.shape == (2, 3, 4)
    assert (found[..., :3] == ACTIVATION_RGB).all()
    expected = np.array([[0, 0, 0.25], [0.5, 1, 0]]) * MAX_OPAQUE
    assert np.abs(found[..., 3] - expected).max() <= 0.5


def test_where_nothing_spoke_for_the_verdict_nothing_is_tinted():
    assert (layer(tint(np.full((4, 4), -1, np.float32)))[..., 3] == 0).all()


def test_a_page_explains_its_tints_and_has_none_without_maps(tmp_path):
    shown = {
        "image": np.full((64, 64), 9, np.uint8),
        "caption": "a shot",
        "label": "weak",
        "probabilities": {"weak": 1.0},
    }
    activation = np.eye(4, dtype=np.float32)
    for name, maps in (("with", activation), ("without", None)):
        write_verdict_page(
            tmp_path / name, title="t", verdicts=[GalleryItem(**shown, activation=maps)]
        )
    html = (tmp_path / "with").read_text(encoding="utf-8")
    (uri,) = re.findall(r'<img class="tint" src="([^"]+)" alt="what spoke for weak">', html)
    assert (layer(uri)[..., 3] == MAX_OPAQUE * activation).all()
    assert "Tinted: what spoke for the verdict" in html
    # the circles lie above it
    assert html.index('class="tint"') < html.index('<svg class="circles"')
    bare = (tmp_path / "without").read_text(encoding="utf-8")
    assert 'class="tint"' not in bare
    assert "Tinted" not in bare


def test_classify_shows_where_a_network_looked(tmp_path, pointed, capsys):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons()))
    page = tmp_path / "page.html"
    arguments = [str(tmp_path / "a.cbf"), "--model", str(pointed), "--report", str(page)]
    assert main(["classify", *arguments]) == 0
    assert "pointed network" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8").count('class="tint"') == 1
