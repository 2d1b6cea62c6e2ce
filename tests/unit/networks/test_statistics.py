import numpy as np
import pytest
import torch
from torch import nn

from deepfreak.dataset import Dataset
from deepfreak.networks.statistics import with_averaged_statistics
from tests.labelled import write_labelled
from tests.unit.networks.tiny import SIDE, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    with Dataset.open(write_labelled(path, np.arange(18) % 5, side=SIDE)) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("model") / "run").model


def first_norm(network):
    return next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))


def test_statistics_are_plain_means_over_whole_batches_of_what_comes_in(data, model):
    made = with_averaged_statistics(model, data, batch=4)
    seen, norm = [], first_norm(model.network)
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for begin in range(0, 16, 4):
        model.probabilities(np.array(data.images[begin : begin + 4]))
    hook.remove()
    found = first_norm(made.network)
    means = torch.stack([maps.mean((0, 2, 3)) for maps in seen]).mean(0)
    variances = torch.stack([maps.var((0, 2, 3)) for maps in seen]).mean(0)
    torch.testing.assert_close(found.running_mean, means, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.running_var, variances, rtol=1e-4, atol=1e-6)
    assert not torch.equal(found.running_var, norm.running_var)


def test_weights_stay_and_the_network_given_is_left_alone(data, model):
    before = model.probabilities(data.images[:3])
    shown = []
    made = with_averaged_statistics(model, data, batch=4, advance=shown.append)
    assert sum(shown) == 16
    assert np.array_equal(model.probabilities(data.images[:3]), before)
    for name, weights in model.network.named_parameters():
        assert torch.equal(weights, made.network.get_parameter(name))
    assert made.manifest["weights_sha256"] != model.manifest["weights_sha256"]
    assert "batches of 4" in made.manifest["statistics"]
