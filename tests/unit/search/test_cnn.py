import math
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from deepfreak.classes import (
    GROUPS,
)
from deepfreak.datasets import Dataset
from deepfreak.errors import BackendError, DatasetError, DeepFreakError, InputError, OutputError
from deepfreak.networks import TOPOLOGIES, load_network, train_network
from deepfreak.search.cnn import Objective, read_results, search
from deepfreak.search.cnn_plan import Plan, epochs_of, narrowed
from deepfreak.search.images import first_images
from deepfreak.search.trial import Trial
from tests.labelled import write_labelled

# Table 9's pools need images of 512 x 512; one filter makes these cheap.
SMALL = Plan(iterations=1, max_epochs=3, filters=1, seed=1)
CHOSEN = {
    "topology": 8, "learning_rate": 0.01, "momentum": 0.6, "weight_decay": 2e-5, "batch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write_labelled(path, np.arange(15) % 5, seed=1, side=512)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits").attrs
        splits["train"], splits["validation"] = (0, 10), (10, 5)
    with Dataset.open(path) as data:
        yield data.split("train"), data.split("validation")


@pytest.fixture(scope="module")
def made(toy, tmp_path_factory):
    """A whole search, its directory, and the printed lines."""
    said = []
    out = tmp_path_factory.mktemp("made") / "out"
    return search(*toy, out, plan=SMALL, device="cpu", say=said.append), out, said


def evaluate(toy, folder, chosen=CHOSEN, budget=3.0, name="0-0-0", continue_from=None, plan=SMALL):
    objective = Objective(train=toy[0], validation=toy[1], folder=folder, plan=plan, device="cpu")
    return objective(trial_of(chosen, budget, name, continue_from))


def trial_of(chosen, budget, name="0-0-0", continue_from=None):
    return Trial(
        number=0, configuration=name, settings=dict(chosen), seed=5, budget=budget,
        continue_from=continue_from,
    )  # fmt: skip


def test_the_defaults_are_the_papers_search():
    plan = Plan()
    assert [epochs_of(budget) for budget in plan.hyperband.budgets] == [2, 6, 17, 50]
    assert plan.trials == 260
    # four kinds of brackets, each with its first rung, then what the promoted ones still train
    kinds = (27 * 2 + 9 * 4 + 3 * 11 + 33, 9 * 6 + 3 * 11 + 33, 6 * 17 + 2 * 33, 4 * 50)
    assert plan.epochs == 4 * sum(kinds)


def test_a_choice_stands_for_a_topology_and_its_training():
    settled = Plan().configuration(CHOSEN)
    assert settled.topology == TOPOLOGIES[8]
    training = settled.training
    assert (training.learning_rate, training.momentum, training.batch) == (0.01, 0.6, 4)
    assert (training.weight_decay, training.epochs) == (2e-5, 50)
    assert SMALL.configuration(CHOSEN).topology == replace(TOPOLOGIES[8], filters=1)
    assert narrowed(TOPOLOGIES[9], 16).filters == 8
    assert replace(SMALL, normalise="image").configuration(CHOSEN).topology.normalise == "image"


def test_a_search_leaves_results_page_and_the_networks_of_the_largest_budget(made):
    results, out, said = made
    assert [epochs_of(each.budget) for each in results.found.trials] == [1, 1, 1, 3]
    found = read_results(out)
    assert found["complete"]
    assert found["planned"] == len(found["evaluations"]) == 4
    (best,) = found["best"]
    assert best["epochs"] == 3
    # one of the three was continued for two epochs
    assert found["epochs_trained"] == 5
    kept = out / "networks" / f"{best['configuration']}.safetensors"
    assert load_network(kept).manifest["result"]["epoch"] == 3
    assert (out / "report.html").read_text().count("<svg") == 2
    assert "Table 11, B" in (out / "report.html").read_text()
    assert len(said) == 4
    assert said[0].startswith("1 of 4: ")


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(InputError, match="let the search end first"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"best": [{"settings": {}}]}')
    with pytest.raises(InputError, match="search cnn"):
        read_results(tmp_path)


def test_the_same_search_again_trains_nothing(toy, made):
    results, out, _ = made
    said = []
    again = search(*toy, out, plan=SMALL, device="cpu", say=said.append)
    assert said == []
    assert again.found == results.found


def test_another_search_does_not_touch_the_folder(toy, made):
    with pytest.raises(OutputError, match="another run"):
        search(*toy, made[1], plan=replace(SMALL, filters=2), device="cpu")


def test_a_training_goes_on_to_the_same_weights_as_one_from_the_start(toy, tmp_path):
    for folder, budgets in {"twice": (1.0, 3.0), "once": (3.0,)}.items():
        before = None
        for budget in budgets:
            outcome = evaluate(toy, tmp_path / folder, budget=budget, continue_from=before)
            before = budget
        assert outcome.info["epochs_trained"] == (2 if folder == "twice" else 3)
    once, twice = (
        load_network(tmp_path / folder / "networks" / "0-0-0.safetensors").manifest
        for folder in ("once", "twice")
    )
    assert once["weights_sha256"] == twice["weights_sha256"]


def test_checkpoints_of_a_bracket_that_is_over_are_removed(toy, tmp_path):
    evaluate(toy, tmp_path, budget=1.0, name="0-0-0")
    evaluate(toy, tmp_path, budget=1.0, name="0-0-1")
    evaluate(toy, tmp_path, budget=1.0, name="1-0-0")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1-0-0"]


def test_a_training_that_diverges_fails_and_counts_its_epochs(toy, tmp_path):
    done = []
    objective = Objective(
        train=toy[0], validation=toy[1], folder=tmp_path, plan=SMALL, device="cpu",
        epoch_done=done.append,
    )  # fmt: skip
    wild = CHOSEN | {"learning_rate": 1e30}
    with pytest.raises(DeepFreakError, match="finite"):
        objective(trial_of(wild, 3.0))
    assert sum(done) == 3


def test_failures_are_recorded_and_the_search_goes_on(toy, tmp_path):
    calls = []

    def fail_at_first(*arguments, **options):
        calls.append(options["out"].name)
        if len(calls) == 1:
            raise BackendError("expected memory for batches of 64, found too little")
        return train_network(*arguments, **options)

    said = []
    options = {"device": "cpu", "say": said.append, "train_with": fail_at_first}
    results = search(*toy, tmp_path / "out", plan=SMALL, **options)
    assert math.isinf(results.found.trials[0].loss)
    assert "too little" in said[0]
    assert results.to_json()["failed"] == 1
    assert "too little" in (tmp_path / "out" / "report.html").read_text()
    assert results.best


def test_real_images_are_classified_in_two_groups(toy, tmp_path):
    path = write_labelled(tmp_path / "real.h5", np.arange(6) % 2, seed=3, side=512, classes=GROUPS)
    with Dataset.open(path) as real:
        plan = replace(SMALL, max_epochs=1)
        results = search(toy[0], real, tmp_path / "out", plan=plan, device="cpu")
        assert results.best[0].outcome.info["total"] == 6
        assert "Table 15" in (tmp_path / "out" / "report.html").read_text()


def test_what_is_wrong_with_every_training_ends_the_search_at_once(toy, tmp_path):
    lacking = replace(toy[0], labels=np.zeros(10, np.uint8))
    with pytest.raises(DatasetError, match="none of no-crystal"):
        search(lacking, toy[1], tmp_path / "out", plan=SMALL, device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_time_limit_leaves_a_search_that_goes_on(toy, tmp_path):
    plan = replace(SMALL, max_epochs=1, iterations=2)
    cut = search(*toy, tmp_path / "out", plan=plan, device="cpu", time_limit_s=0)
    assert not cut.found.complete
    assert cut.best == ()
    assert "interrupted" in (tmp_path / "out" / "report.html").read_text()
    whole = search(*toy, tmp_path / "out", plan=plan, device="cpu")
    assert whole.found.complete


def test_the_first_images_are_told_from_others_by_their_manifest(toy):
    train, validation = (first_images(each, 3) for each in toy)
    assert train.manifest["split"] == {"name": "train-3", "first": 0, "count": 3}
    assert validation.manifest["split"] == {"name": "validation-3", "first": 10, "count": 3}
    np.testing.assert_array_equal(validation.images[0:3], toy[1].images[0:3])
    assert first_images(toy[0], 10) is toy[0]
    assert first_images(toy[0], None) is toy[0]
