"""The search for the network: BOHB over topology and training (section 5.2, Table 10)."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.errors import DeepFreakError, InputError, OutputError
from deepfreak.models.evaluation import evaluate
from deepfreak.networks import train_network
from deepfreak.search.cnn_plan import Plan, epochs_of
from deepfreak.search.images import Progress, accuracy_of, described, no_progress
from deepfreak.search.journal import open_journal
from deepfreak.search.loop import Loop, ended, identity
from deepfreak.search.trial import Outcome, Search, Trial
from deepfreak.search.trial import evaluate as outcome_of
from deepfreak.storage.files import reason_of, versions, whole_file

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.networks import Trained
    from deepfreak.networks.state import Epoch

JOURNAL, RESULTS, REPORT = "journal.log", "results.json", "report.html"
CHECKPOINTS, NETWORKS = "checkpoints", "networks"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objective:
    """The error on the images `validation` of a network trained on `train`.

    Trains for as many epochs as the budget says, from the checkpoint of the smaller budget if that
    exists, otherwise from the start, which ends in the same weights. Evaluates two classes where
    `validation` has the two groups of real images. A network that had the largest budget is kept.
    """

    train: "Dataset"
    validation: "Dataset"
    folder: Path  # for checkpoints, of one bracket at a time, and networks
    plan: Plan
    device: str | None = None
    epoch_done: Callable[[int], None] = lambda _: None  # called with 1 after each epoch
    train_with: Callable[..., "Trained"] = train_network  # or a function like it

    def __call__(self, trial: Trial) -> Outcome:
        """Return the loss; diverging and too little memory raise a `DeepFreakError`."""
        epochs, planned = epochs_of(trial.budget), epochs_planned(trial)
        trained = 0

        def count(_: "Epoch") -> None:
            nonlocal trained
            trained += 1
            self.epoch_done(1)

        self._remove_former_brackets(trial.configuration)
        folder = self.folder / CHECKPOINTS / trial.configuration
        chosen = self.plan.configuration(trial.settings)
        try:
            made = self.train_with(
                self.train,
                architecture=chosen.topology,
                training=chosen.training,
                out=folder,
                seed=trial.seed,
                until=epochs,
                device=self.device,
                on_epoch=count,
            )
            found = evaluate(made.model, self.validation)
        finally:
            # what failed, or a killed run had done already, is no longer to do
            self.epoch_done(max(planned - trained, 0))
        if not np.isfinite(found.probabilities).all():
            raise DeepFreakError(
                "expected finite probabilities, found others: the weights diverged"
            )
        if epochs == self.plan.max_epochs:
            kept = self.folder / NETWORKS / f"{trial.configuration}.safetensors"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "weights.safetensors", kept)
        info = {
            "hits": found.accuracy.hits,
            "total": found.accuracy.total,
            "epochs": epochs,
            "epochs_trained": trained,
            "train_accuracy": made.history[-1].accuracy,
        }
        return Outcome(1 - found.accuracy.value, info)

    def _remove_former_brackets(self, configuration: str) -> None:
        """Remove the checkpoints of brackets that are over."""
        bracket = configuration.partition("-")[0]
        for place in (self.folder / CHECKPOINTS).glob("*-*-*"):
            if place.name.partition("-")[0] != bracket:
                shutil.rmtree(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a search found."""

    plan: Plan
    purpose: Mapping[str, Any]  # images to train and to judge on, and what distinguishes the search
    found: Search

    @property
    def best(self) -> tuple[Trial, ...]:
        """The three best at the largest budget, best first."""
        return self.found.ranking[:3]

    @property
    def trajectory(self) -> tuple[tuple[float, Trial], ...]:
        """Each new best at the largest budget so far, and the seconds spent until it was found."""
        seconds, found = 0.0, list[tuple[float, Trial]]()
        for trial in self.found.trials:
            seconds += trial.outcome.seconds if trial.outcome else 0.0
            before = found[-1][1] if found else None
            if trial.succeeded and (
                before is None or (trial.budget, -trial.loss) > (before.budget, -before.loss)
            ):
                found.append((seconds, trial))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        trials = self.found.trials
        outcomes = [trial.outcome for trial in trials if trial.outcome is not None]
        return {
            "purpose": dict(self.purpose),
            "plan": asdict(self.plan),
            "complete": self.found.complete,
            "planned": self.plan.trials,
            "failed": sum(not trial.succeeded for trial in trials),
            "epochs_trained": sum(each.info.get("epochs_trained", 0) for each in outcomes),
            "seconds": sum(each.seconds for each in outcomes),
            "best": [_to_json(trial) for trial in self.best],
            "trajectory": [
                {**_to_json(trial), "seconds": seconds} for seconds, trial in self.trajectory
            ],
            "evaluations": [_to_json(trial) for trial in trials],
            "versions": versions("torch", "numpy"),
        }


def _to_json(trial: Trial) -> dict[str, Any]:
    outcome = trial.outcome
    if outcome is None:
        raise AssertionError
    return {
        "configuration": trial.configuration,
        "settings": trial.settings,
        "epochs": epochs_of(trial.budget),
        "from_model": trial.from_model,
        "accuracy": accuracy_of(trial).to_json() if trial.succeeded else None,
        "train_accuracy": outcome.info.get("train_accuracy"),
        "seconds": outcome.seconds,
        "error": outcome.error,
    }


def read_results(folder: Path) -> dict[str, Any]:
    """Return the results that `search` wrote into `folder`; `InputError` if there are none."""
    path = folder / RESULTS
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        for made in values["best"]:
            made["settings"]["topology"], made["accuracy"]["value"], made["epochs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected the results of `deepfreak model search cnn` in {path}, found {error}; let "
            "the search end first"
        ) from error
    return values


def search(
    train: "Dataset",
    validation: "Dataset",
    out: str | Path,
    *,
    plan: Plan | None = None,
    device: str | None = None,
    time_limit_s: float = math.inf,
    progress: Progress = no_progress,
    say: Callable[[str], None] = lambda _: None,
    train_with: Callable[..., "Trained"] = train_network,
) -> Results:
    """Search for the network that, trained on `train`, is best on `validation`.

    The directory `out` gets the journal, from which the same call resumes, `results.json`,
    `report.html`, checkpoints of the bracket under way, and in `networks` the weights of each
    configuration that was trained for all epochs. What is found depends on the images, the plan,
    and, by the last bits of sums, on the machine.

    Parameters
    ----------
    validation
        Images of the same classes, or real ones of two, for which predictions are grouped.
    device
        Such as "cpu" or "cuda"; by default a GPU where there is one.
    time_limit_s
        No training begins later; one that is under way is finished.
    progress, say
        Get what is shown meanwhile: a bar of epochs, and a line for each training.
    train_with
        What trains: `train_network`, or a function like it.

    Raises
    ------
    DatasetError
        Classes do not fit or have no images.
    BackendError
        There is no such device.
    OutputError
        `out` holds another search or one under way, or cannot be written.
    """
    from deepfreak.models.evaluation import must_group
    from deepfreak.networks.batches import StoredImages
    from deepfreak.networks.figures import write_cnn_search_page
    from deepfreak.networks.processes import processes

    deadline = time.monotonic() + time_limit_s
    plan, folder = plan or Plan(), Path(out)
    # whatever is wrong with all trainings must not be recorded as the failure of each
    must_group(tuple(train.classes), validation)
    with processes(device) as group:
        StoredImages(train, group, resident=False).check_classes()
    purpose = {
        "train": described(train),
        "judged": described(validation),
        "max_epochs": plan.max_epochs,
        "space": plan.space,
        "filters": plan.filters,
        "precision": plan.precision,
        "normalise": plan.normalise,
    }
    _make_folder(folder)
    with open_journal(folder / JOURNAL, identity(plan.sampler, 1, purpose)) as journal:
        recorded = [trial for trial, _ in journal.trials.values()]
        total, left = plan.trials, plan.epochs - sum(map(epochs_planned, recorded))
        with progress("epochs", max(left, 0)) as advance:
            objective = Objective(
                train=train,
                validation=validation,
                folder=folder,
                plan=plan,
                device=device,
                epoch_done=advance,
                train_with=train_with,
            )
            found = Loop(
                sampler=plan.sampler,
                begin=lambda trial: ended(outcome_of(objective, trial)),
                journal=journal,
                deadline=deadline,
                on_trial=lambda trial: say(f"{len(journal.trials)} of {total}: {told(trial)}"),
            ).run()
    results = Results(plan=plan, purpose=purpose, found=found)
    values = results.to_json()
    with whole_file(folder / RESULTS, overwrite=True) as partial:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    write_cnn_search_page(folder / REPORT, values, overwrite=True)
    return results


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory {folder}: {reason_of(error)}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"no permission to write into {folder}; choose another --out")


def epochs_planned(trial: Trial) -> int:
    """Return how many epochs a trial trains if it continues from its smaller budget."""
    before = 0 if trial.continue_from is None else epochs_of(trial.continue_from)
    return epochs_of(trial.budget) - before


def told(trial: Trial) -> str:
    """Return in words what a trial came to."""
    chosen = trial.settings
    what = (
        f"topology {chosen['topology']}, rate {chosen['learning_rate']:.2g}, momentum "
        f"{chosen['momentum']:.2f}, batches of {chosen['batch_size']}, "
        f"{epochs_of(trial.budget)} epochs"
    )
    if trial.succeeded:
        return f"{100 * (1 - trial.loss):.2f} % by {what}"
    return f"{what}: {trial.outcome.error if trial.outcome else 'under way'}"
