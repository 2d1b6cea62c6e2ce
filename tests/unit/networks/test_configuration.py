import json

import pydantic
import pytest

from deepfreak.networks import (
    CONFIGURATION_A,
    CONFIGURATION_B,
    CONFIGURATION_C,
    DEEPFREAK,
    FOR_PREPROCESSED_IMAGES,
    FOR_RAW_IMAGES,
    TOPOLOGIES,
    Augmentation,
    Inputs,
    Training,
)


def test_b_is_the_papers_deepfreak():
    training = CONFIGURATION_B.training
    assert CONFIGURATION_B.topology == DEEPFREAK
    assert (training.epochs, training.optimizer, training.batch) == (180, "sgd", 1)
    assert (training.learning_rate, training.momentum) == (8.4474e-4, 0.56168)
    assert (training.weight_decay, training.decay_all) == (3.4855e-5, True)
    assert (training.decay_epochs, training.decay_rate) == (10, 0.1)
    assert training.inputs == Inputs(subtract="pixel mean", shrink_to=None)
    assert training.augmentation == Augmentation()


def test_the_papers_other_configurations_have_their_topologies():
    assert CONFIGURATION_A.topology == TOPOLOGIES[6]
    assert CONFIGURATION_C.topology == TOPOLOGIES[1]
    # Tables 15 and 17 spell theirs out.
    raw, preprocessed = FOR_RAW_IMAGES.topology, FOR_PREPROCESSED_IMAGES.topology
    assert (raw.second_pool_size, raw.second_pool_stride) == (9, 2)
    assert (raw.filters, raw.block_strides) == (64, (1, 2, 2, 3))
    assert (preprocessed.second_pool_size, preprocessed.second_pool_stride) == (7, 2)
    assert (preprocessed.filters, preprocessed.block_strides) == (8, (1, 2, 2, 2))


@pytest.mark.parametrize(("epoch", "decays"), [(0, 0), (9.99, 0), (10, 1), (19.9, 1), (20, 2)])
def test_the_learning_rate_falls_to_a_tenth_every_ten_epochs(epoch, decays):
    training = Training(learning_rate=0.5)
    assert training.learning_rate_at(epoch) == pytest.approx(0.5 * 0.1**decays)


def test_the_published_code_divides_at_epoch_0_already():
    training = Training(learning_rate=0.5, first_decay=0)
    assert training.learning_rate_at(0) == pytest.approx(0.05)
    assert training.learning_rate_at(10) == pytest.approx(0.005)


def test_a_cosine_rises_and_falls_to_zero():
    training = Training(schedule="cosine", epochs=12, warmup_epochs=2, learning_rate=0.5)
    rates = [training.learning_rate_at(epoch) for epoch in (0, 1, 2, 7, 12)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.25, 0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"learning_rate": 0},
        {"momentum": 1.1},
        {"nesterov": True, "momentum": 0.0},
        {"optimizer": "adamw", "momentum": 1.0},
        {"schedule": "cosine", "epochs": 2, "warmup_epochs": 2},
        {"inputs": {"subtract": "median"}},
        {"augmentation": {"intensity": (2, 1)}},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        Training(**wrong)


def test_json_makes_the_same_settings_again():
    training = Training(
        batch=8, inputs=Inputs(shrink_to=224), augmentation=Augmentation(intensity=(0.5, 2))
    )
    assert Training(**json.loads(json.dumps(training.settings()))) == training
