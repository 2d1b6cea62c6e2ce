import numpy as np
import pytest
import torch

from deepfreak.errors import ModelError
from deepfreak.networks import Topology, load_network
from deepfreak.networks.checkpoint import FORMAT, fingerprint
from deepfreak.networks.network import NetworkModel, build_network
from deepfreak.networks.recipe import Inputs
from paper.parts import join_parts, rounded, write_parts

SMALL = Topology(filters=4, blocks=(1, 1, 1, 1), second_pool_size=1)
MAX_BYTES = 60_000


@pytest.fixture
def model():
    torch.manual_seed(3)
    network = build_network(SMALL, Inputs(), classes=5, side=32).eval()
    network.mean.copy_(torch.rand(32, 32))
    manifest = {
        "format": FORMAT,
        "architecture": SMALL.settings(),
        "inputs": {"subtract": "pixel mean", "shrink_to": None},
        "classes": list("abcde"),
        "side": 32,
        "weights_sha256": fingerprint(network),
    }
    return NetworkModel(network=network, side=32, classes=tuple("abcde"), manifest=manifest)


def test_parts_are_small_and_join_to_the_network_that_was_judged(model, tmp_path):
    kept = rounded(model)
    paths = write_parts(kept, tmp_path, "b", most_bytes=MAX_BYTES)
    assert [path.name for path in paths] == [
        f"b-{number}-of-{len(paths)}.safetensors" for number in range(1, len(paths) + 1)
    ]
    assert len(paths) > 1
    assert max(path.stat().st_size for path in paths) <= MAX_BYTES
    join_parts(paths[::-1], tmp_path / "whole.safetensors")
    joined = load_network(tmp_path / "whole.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    np.testing.assert_array_equal(joined.probabilities(images), kept.probabilities(images))
    # half precision makes a small difference
    np.testing.assert_allclose(joined.probabilities(images), model.probabilities(images), atol=0.01)
    assert joined.manifest["rounded"] == "float16"


def test_rounding_leaves_the_network_itself_as_it_was(model):
    before = fingerprint(model.network)
    assert rounded(model).manifest["weights_sha256"] != before
    assert fingerprint(model.network) == before


def test_a_missing_part_and_a_part_of_another_network_are_told(model, tmp_path):
    paths = write_parts(rounded(model), tmp_path, "b", most_bytes=MAX_BYTES)
    with pytest.raises(ModelError, match="all parts"):
        join_parts(paths[1:], tmp_path / "whole.safetensors")
    with torch.no_grad():
        next(model.network.parameters()).zero_()
    others = write_parts(rounded(model), tmp_path, "c", most_bytes=MAX_BYTES)
    with pytest.raises(ModelError, match="one network"):
        join_parts((*paths[:-1], others[-1]), tmp_path / "whole.safetensors")
    paths[0].write_bytes(b"nothing")
    with pytest.raises(ModelError, match="a part of a network"):
        join_parts(paths, tmp_path / "whole.safetensors")
    assert not (tmp_path / "whole.safetensors").exists()


def test_what_cannot_be_divided_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="rounded"):
        write_parts(model, tmp_path, "b")
    with pytest.raises(ValueError, match="alone takes"):
        write_parts(rounded(model), tmp_path, "b", most_bytes=5000)
