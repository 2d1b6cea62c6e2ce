"""The results of a search for the network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfreak.errors import InputError
from deepfreak.search.cnn_plan import Plan, epochs_of
from deepfreak.search.images import accuracy_of
from deepfreak.search.trial import Search, Trial
from deepfreak.storage.files import versions

RESULTS = "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a search found.

    Parameters
    ----------
    purpose
        The images that networks were trained and evaluated on, and what distinguishes the search.
    """

    plan: Plan
    purpose: Mapping[str, Any]
    found: Search

    @property
    def best(self) -> tuple[Trial, ...]:
        """The three best at the largest budget, best first."""
        return self.found.ranking[:3]

    @property
    def trajectory(self) -> tuple[tuple[float, Trial], ...]:
        """Each new incumbent with the seconds spent until it was found.

        It is the best at the largest budget so far, as in HpBandSter.
        """
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
    """Return the results that `search` wrote into `folder`.

    Raises
    ------
    InputError
        There are none, or they are of something else.
    """
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
