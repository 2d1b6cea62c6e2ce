import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfreak.datasets import Dataset
from deepfreak.networks import architecture_from, load_network, save_network
from deepfreak.networks.network import normalised_by_image
from tests.labelled import write_labelled
from tests.unit.networks.tiny import SIDE, SMALL, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    with Dataset.open(write_labelled(path, np.arange(18) % 5, side=2 * SIDE)) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("model") / "run").model


def test_normalised_by_image_it_says_what_it_said_while_it_learned(data, model):
    made = normalised_by_image(model)
    learning = copy.deepcopy(model.network).train()
    expected = []
    with torch.no_grad():
        for image in data.images[:5]:
            logits = learning(torch.from_numpy(image[None]))
            expected.append(logits.double().softmax(1).numpy())
    found = made.probabilities(data.images[:5])
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)
    np.testing.assert_allclose(made.probabilities(data.images[3:4]), found[3:4], atol=1e-6)
    assert abs(found - model.probabilities(data.images[:5])).max() > 0.01
    assert sum(shown.numel() for shown in made.network.parameters()) == sum(
        shown.numel() for shown in model.network.parameters()
    )


def test_it_can_be_written_read_and_trained_like_any_other(data, model, tmp_path):
    made = normalised_by_image(model)
    save_network(made, tmp_path / "made.safetensors")
    read = load_network(tmp_path / "made.safetensors")
    images = data.images[:3]
    np.testing.assert_array_equal(read.probabilities(images), made.probabilities(images))
    learned = train(data, tmp_path / "run", architecture=replace(SMALL, normalise="image")).model
    assert learned.manifest["architecture"]["normalise"] == "image"
    alone = [learned.probabilities(images[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(np.concatenate(alone), learned.probabilities(images), atol=1e-6)


def test_settings_without_a_normalisation_mean_that_of_batches():
    settings = SMALL.settings()
    assert settings.pop("normalise") == "batch"
    assert architecture_from(settings) == SMALL
