from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from deepfreak.errors import ModelError, OutputError
from deepfreak.models import load_model
from deepfreak.models.onnx_model import MAX_FILE_BYTES
from deepfreak.networks import Inputs, Topology, export
from deepfreak.networks.calibration import Calibration, tempered
from deepfreak.networks.export import Shrink, export_onnx, with_maps
from tests.unit.networks.served import SIDE, SMALL, images_of, model_of
from tests.unit.networks.tiny import Straight

CALIBRATION = Calibration(
    temperature=2.5,
    data="v.h5",
    split=None,
    images=9,
    log_loss=(2, 1),
    calibration_error=(0.2, 0.1),
)


class Summed(nn.Module):
    """A network with its own maps."""

    def __init__(self, classes):
        super().__init__()
        self.convolution = nn.Conv2d(1, classes, 8, stride=8)

    def maps(self, images):
        maps = torch.relu(self.convolution(images))
        return maps.sum((2, 3)), maps

    def forward(self, images):
        return self.maps(images)[0]

    def __getitem__(self, _index):
        return self.convolution


@dataclass(frozen=True)
class Own(Straight):
    name = "own"

    def build(self, *, classes, size):
        return Summed(classes)


@pytest.mark.parametrize(
    ("architecture", "inputs"),
    [
        (SMALL, Inputs()),
        (SMALL, Inputs(subtract="mean")),
        (SMALL, Inputs(subtract="nothing", shrink_to=48)),
        (Topology(filters=8, second_pool_size=1), Inputs()),
        (Own(), Inputs(subtract="mean")),
    ],
    ids=["pixel mean", "mean", "shrunk", "eight filters", "own maps"],
)
def test_the_file_answers_as_torch_does(tmp_path, architecture, inputs):
    model = model_of(architecture, inputs=inputs)
    export_onnx(model, tmp_path / "a.onnx", calibration=CALIBRATION)
    served = load_model(tmp_path / "a.onnx")
    images = images_of(5)
    valid = np.random.default_rng(3).random(images.shape) < 0.8
    for where in (None, valid):
        expected = tempered(model.probabilities(images, where), 2.5)
        np.testing.assert_allclose(served.probabilities(images, where), expected, rtol=0, atol=1e-4)
        rows, maps = served.look(images, where)
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-4)
        # a map's sum is its class's logit, up to the bias, and its mean over classes is 0
        bias = np.log(rows) * 2.5 - maps.sum((2, 3))
        np.testing.assert_allclose(maps.mean(1), 0, atol=1e-5)
        bias -= bias.mean(1, keepdims=True)
        np.testing.assert_allclose(bias, np.broadcast_to(bias[0], bias.shape), atol=1e-3)
    # and they are not all the same
    assert np.ptp(served.probabilities(images), axis=0).max() > 0.01


def test_pixels_in_no_window_of_the_pool_speak_for_nothing():
    body = model_of(SMALL).network.body
    _, maps = with_maps(body, size=SIDE)(torch.rand(2, 1, SIDE, SIDE))
    assert maps.shape == (2, 5, 8, 8)
    assert (maps[:, :, 7] == 0).all()
    assert (maps[..., 7] == 0).all()
    assert (maps[:, :, :7, :7].abs().amax((0, 1)) > 0).all()


def test_shrinking_by_matrices_is_that_of_training():
    images = torch.rand(2, 1, 100, 100)
    expected = interpolate(images, (37, 37), mode="bilinear", antialias=True)
    np.testing.assert_allclose(Shrink(100, 37)(images), expected, atol=1e-6)


def test_the_network_that_is_exported_stays_as_it_was(tmp_path):
    model = model_of(SMALL, inputs=Inputs(subtract="mean", shrink_to=48))
    before = model.probabilities(images_of(3))
    export_onnx(model, tmp_path / "a.onnx")
    assert model.network.shrink_to == 48
    np.testing.assert_array_equal(model.probabilities(images_of(3)), before)


def test_equal_networks_give_equal_files_that_name_no_folder(tmp_path):
    for name in "ab":
        export_onnx(model_of(SMALL), tmp_path / f"{name}.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    assert b"deepfreak/" not in content


def test_the_manifest_says_what_it_was_made_of(tmp_path):
    model = model_of(SMALL)
    served = export_onnx(model, tmp_path / "a.onnx", calibration=CALIBRATION)
    assert served.manifest["network"] == model.manifest
    assert served.manifest["calibration"] == CALIBRATION.to_json()
    assert {"deepfreak", "torch", "onnxruntime"} <= served.manifest["versions"].keys()
    assert served.classes == model.classes


def test_a_network_without_maps_is_refused():
    with pytest.raises(ModelError, match="expected a network with a method `maps`"):
        with_maps(Straight().build(classes=5, size=8), size=8)


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        export_onnx(model_of(SMALL), path)
    assert path.read_text() == "mine"
    export_onnx(model_of(SMALL), path, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    assert MAX_FILE_BYTES == 64 * 2**20
    with pytest.raises(OutputError, match="fewer filters"):
        export_onnx(model_of(SMALL), tmp_path / "a.onnx", max_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_a_file_that_gives_other_outputs_is_not_written(tmp_path, monkeypatch):
    honest = export.softmax
    monkeypatch.setattr(export, "softmax", lambda logits: honest(logits) + 2e-4)
    with pytest.raises(ModelError, match=r"a\.onnx was not written: expected the recorded outputs"):
        export_onnx(model_of(SMALL), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
