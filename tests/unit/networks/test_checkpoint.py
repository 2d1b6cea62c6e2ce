import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from deepfreak.errors import FrameError, ModelError
from deepfreak.extras import missing
from deepfreak.networks import Inputs, Topology, load_network, save_network
from deepfreak.networks.checkpoint import FORMAT
from deepfreak.networks.network import NetworkModel, build_network, fingerprint

SIDE = 32
TOPOLOGY = Topology(filters=1, blocks=(1, 1, 1, 1), second_pool_size=1)
CLASSES = ("no", "yes")


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = build_network(TOPOLOGY, Inputs(), classes=2, side=SIDE).eval()
    network.mean.fill_(0.1)
    manifest = {
        "format": FORMAT,
        "architecture": TOPOLOGY.settings(),
        "inputs": {"subtract": "pixel mean", "shrink_to": None},
        "classes": list(CLASSES),
        "side": SIDE,
        "weights_sha256": fingerprint(network),
    }
    return NetworkModel(network=network, side=SIDE, classes=CLASSES, manifest=manifest)


@pytest.fixture
def saved(model, tmp_path):
    save_network(model, tmp_path / "network.safetensors")
    return tmp_path / "network.safetensors"


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE)).astype(np.uint8)


def rewrite(path, *, manifest=None, tensors=None):
    """Change the JSON or the weights of a file."""
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["deepfreak"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
    record.update(manifest or {})
    weights.update(tensors or {})
    weights = {name: value for name, value in weights.items() if value is not None}
    save_file(weights, path, metadata={"deepfreak": json.dumps(record)})


def test_a_loaded_network_answers_as_the_one_saved(model, saved, images):
    loaded = load_network(saved)
    assert (loaded.name, loaded.classes, loaded.side) == (model.name, CLASSES, SIDE)
    answers = loaded.probabilities(images)
    np.testing.assert_array_equal(answers, model.probabilities(images))
    np.testing.assert_allclose(answers.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"format": 99}, "format 1"),
        ({"architecture": {"architecture": "vgg"}}, "'vgg'"),
        ({"architecture": TOPOLOGY.settings() | {"filters": 2}}, "body.0.0.weight"),
        ({"classes": ["no", "yes", "maybe"]}, "weight, expected"),
        ({"classes": ["no", "no"]}, "2 classes"),
        ({"side": 10**9}, "1000000000"),
        ({"side": 16}, "mean"),
        ({"inputs": {"shrink_to": 4}}, "shrink_to"),
        ({"weights_sha256": "0"}, "not those that its manifest names"),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_one_line(saved, manifest, said):
    rewrite(saved, manifest=manifest)
    with pytest.raises(ModelError, match=said) as caught:
        load_network(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensors",
    [
        {"mean": None},
        {"mean": torch.zeros(2)},
        {"mean": torch.zeros(SIDE, SIDE, dtype=torch.float64)},
        {"more": torch.zeros(2)},
        {"mean": torch.full((SIDE, SIDE), 0.2)},
    ],
)
def test_other_weights_are_refused(saved, tensors):
    rewrite(saved, tensors=tensors)
    with pytest.raises(ModelError):
        load_network(saved)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"{}"]
)
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="a.safetensors"):
        load_network(tmp_path / "a.safetensors")


def test_half_a_file_is_refused(saved):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="expected weights and their JSON"):
        load_network(saved)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="found no .*nowhere"):
        load_network(tmp_path / "nowhere")


def test_pixels_that_are_not_valid_do_not_matter(model, images):
    valid = np.ones(images.shape, bool)
    valid[:, 4:9] = False
    other = images.copy()
    other[:, 4:9] = 255
    answers = model.probabilities(images, valid)
    np.testing.assert_array_equal(answers, model.probabilities(other, valid))
    assert not np.array_equal(answers, model.probabilities(images))


@pytest.mark.parametrize("wrong", [np.zeros((1, 16, 16), np.uint8), np.zeros((1, SIDE, SIDE))])
def test_other_images_are_refused(model, wrong):
    with pytest.raises(FrameError, match="uint8 images of 32 x 32"):
        model.probabilities(wrong)


def test_the_settings_need_no_torch_and_the_rest_says_so():
    program = (
        "import sys; sys.modules['torch'] = None; import deepfreak.networks as n;"
        "n.DEEPFREAK.map_sizes(512)\n"
        "try: n.train_network\n"
        "except n.BackendError as error: print(error)"
    )
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert said == missing("torch", "networks") + "\n"
