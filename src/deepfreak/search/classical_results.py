"""What the joint search found: a summary as JSON values, a page, and the best model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepfreak.errors import DatasetError
from deepfreak.search.images import accuracy_of
from deepfreak.search.samplers.tpe import importance
from deepfreak.search.tables import TABLE_8, describe, pipeline, size
from deepfreak.search.trial import Trial
from deepfreak.storage.files import versions, whole_file

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.features.cache import FeatureCache
    from deepfreak.models import VectorModel

KIND = "deepfreak classical search"
RESULTS, REPORT, MODEL = "results.json", "report.html", "best.model"
_SECONDS = ("features", "fit", "evaluate")

State = Literal["done", "timed out", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of the program: when it began, and its seconds so far."""

    started: str
    workers: int
    trial_seconds: float  # time limit of each of its trials
    wall_s: float = 0.0
    extraction_s: float = 0.0  # of these, while features were computed for all trials


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """What a search found."""

    purpose: Mapping[str, Any]  # the images, as the journal has them
    seed: int
    trials: tuple[Trial, ...]
    sessions: tuple[Session, ...]  # the runs of the program that it took
    importance: Mapping[str, float]  # how much each parameter mattered; all add up to 1

    @property
    def best(self) -> Trial | None:
        """The trial with the highest accuracy, of equal ones the first; None if all failed."""
        return best_of(self.trials)

    @property
    def for_groups(self) -> bool:
        """Whether classifiers have the two groups of real images."""
        return bool(self.purpose["train"]["classes"] != self.purpose["validation"]["classes"])

    def best_by(self, parameter: str) -> dict[str, Trial]:
        """Return the best trial for each value of `parameter` with which any succeeded."""
        of_value: dict[str, list[Trial]] = {}
        for trial in self.trials:
            of_value.setdefault(str(trial.settings[parameter]), []).append(trial)
        found = {value: best_of(chosen) for value, chosen in sorted(of_value.items())}
        return {value: best for value, best in found.items() if best is not None}

    @property
    def counts(self) -> dict[State, int]:
        """How many trials succeeded, reached the time limit, failed."""
        states = [state_of(trial) for trial in self.trials]
        found: tuple[State, ...] = ("done", "timed out", "failed")
        return {state: states.count(state) for state in found}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of the sessions: in all, for the features of all trials, and without them."""
        wall = sum(session.wall_s for session in self.sessions)
        extraction = sum(session.extraction_s for session in self.sessions)
        return {"wall": wall, "extraction": extraction, "search": wall - extraction}

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        trials = [_to_json(trial) for trial in self.trials]
        spent = {
            f"trials_{name}": sum(trial["seconds"][name] for trial in trials)
            for name in (*_SECONDS, "total")
        }
        return {
            "kind": KIND,
            "purpose": dict(self.purpose),
            "seed": self.seed,
            "points_in_space": size(),
            "best": None if self.best is None else _to_json(self.best),
            **{
                f"best_by_{name}": {
                    value: _to_json(trial) for value, trial in self.best_by(name).items()
                }
                for name in ("extractor", "classifier")
            },
            "importance": dict(self.importance),
            "counts": self.counts,
            "seconds": self.seconds | spent,
            "sessions": [asdict(session) for session in self.sessions],
            "versions": versions("numpy", "scikit-learn", "opencv-python-headless", "optuna"),
            "trials": trials,
        }


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial of least loss, of equal ones the first; None if all failed."""
    succeeded = [trial for trial in trials if trial.succeeded]
    return min(succeeded, key=lambda trial: (trial.loss, trial.number), default=None)


def state_of(trial: Trial) -> State:
    """Return how a trial ended."""
    if trial.succeeded:
        return "done"
    timed_out = trial.outcome is not None and trial.outcome.info.get("timed_out")
    return "timed out" if timed_out else "failed"


def results_of(
    trials: Sequence[Trial],
    sessions: Iterable[Mapping[str, Any]],
    purpose: Mapping[str, Any],
    *,
    seed: int,
) -> Results:
    """Return the results of trials; `DatasetError` if none succeeded."""
    if best_of(trials) is None:
        outcome = trials[0].outcome if trials else None
        raise DatasetError(
            f"expected a trial that succeeds, found none of {len(trials)}; the first: "
            f"{outcome.error if outcome else 'none was begun'}"
        )
    return Results(
        purpose=dict(purpose),
        seed=seed,
        trials=tuple(trials),
        sessions=tuple(Session(**session) for session in sessions),
        importance=importance(TABLE_8, trials),
    )


def _to_json(trial: Trial) -> dict[str, Any]:
    outcome = trial.outcome
    if outcome is None:
        raise AssertionError
    seconds = {name: outcome.info.get(f"{name}_s", 0.0) for name in _SECONDS}
    return {
        "number": trial.number,
        "settings": trial.settings,
        "description": describe(trial.settings),
        "state": state_of(trial),
        "reason": outcome.error,
        "accuracy": accuracy_of(trial).to_json() if trial.succeeded else None,
        "seconds": {**seconds, "total": outcome.seconds},
    }


def write_results(out: Path, results: Results) -> None:
    """Write `results` into the directory `out`, as JSON and as a page."""
    from deepfreak.reports.search import write_search_page

    text = json.dumps(results.to_json(), indent=1, allow_nan=False) + "\n"
    with whole_file(out / RESULTS, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
    write_search_page(out / REPORT, json.loads(text), overwrite=True)


def train_best(
    results: Results, train: "Dataset", *, cache: "FeatureCache", workers: int
) -> "VectorModel":
    """Return the model of the best trial, trained again on the same images, and calibrated."""
    from deepfreak.models import train as train_model

    best = results.best
    if best is None:
        raise DatasetError("expected a trial that succeeded, found none: search again")
    chosen = pipeline(best.settings)
    model = train_model(
        train,
        extractor=cache.fitted(chosen.extractor, train, seed=results.seed, workers=workers),
        classifier=chosen.classifier,
        groups=results.for_groups,
        seed=results.seed,
        workers=workers,
        cache=cache,
    )
    accuracy = accuracy_of(best).to_json()
    found = {"trial": best.number, "of": len(results.trials), "validation_accuracy": accuracy}
    return replace(model, manifest={**model.manifest, "search": found})
