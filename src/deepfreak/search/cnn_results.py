"""What a search for the network came to."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfreak.errors import InputError
from deepfreak.models.evaluation import Proportion
from deepfreak.search.bohb import Evaluation, Search
from deepfreak.search.cnn_plan import Plan, epochs_of
from deepfreak.storage.files import versions

RESULTS = "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a search came to.

    Parameters
    ----------
    purpose
        What it learned from, was judged on, and looked for.
    """

    plan: Plan
    purpose: Mapping[str, Any]
    found: Search

    @property
    def best(self) -> tuple[Evaluation, ...]:
        """The three best at the largest budget, best first."""
        return self.found.ranking[:3]

    @property
    def trajectory(self) -> tuple[tuple[float, Evaluation], ...]:
        """Each new incumbent with the seconds spent until it was found.

        It is the best at the largest budget so far, as HpBandSter has it.
        """
        seconds, found = 0.0, list[tuple[float, Evaluation]]()
        for made in self.found.evaluations:
            seconds += made.duration_s
            before = found[-1][1] if found else None
            if math.isfinite(made.loss) and (
                before is None or (made.budget, -made.loss) > (before.budget, -before.loss)
            ):
                found.append((seconds, made))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        evaluations = [self._record(made) for made in self.found.evaluations]
        return {
            "purpose": dict(self.purpose),
            "plan": asdict(self.plan),
            "complete": self.found.complete,
            "planned": self.plan.hyperband.evaluations(self.plan.iterations),
            "failed": sum(not math.isfinite(made.loss) for made in self.found.evaluations),
            "epochs_trained": sum(
                made.info.get("epochs_trained", 0) for made in self.found.evaluations
            ),
            "seconds": sum(made.duration_s for made in self.found.evaluations),
            "best": [self._record(made) for made in self.best],
            "trajectory": [
                {"seconds": seconds, **self._record(made)} for seconds, made in self.trajectory
            ],
            "evaluations": evaluations,
            "versions": versions("torch", "numpy"),
        }

    def _record(self, made: Evaluation) -> dict[str, Any]:
        failed = not math.isfinite(made.loss)
        accuracy = None if failed else proportion_of(made).to_json()
        return {
            "configuration": made.configuration,
            "settings": made.settings,
            "epochs": epochs_of(made.budget),
            "from_model": made.from_model,
            "accuracy": accuracy,
            "train_accuracy": made.info.get("train_accuracy"),
            "seconds": made.duration_s,
            "error": made.error,
        }


def read_results(folder: Path) -> dict[str, Any]:
    """Return the results that `search` left in `folder`.

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


def proportion_of(made: Evaluation) -> Proportion:
    """Return how many images an evaluation that succeeded judged rightly."""
    return Proportion(made.info["hits"], made.info["total"])
