"""What a search has found: a summary as JSON values, a page, and the best model."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfreak.errors import DatasetError
from deepfreak.search.journal import Journal, Session
from deepfreak.search.table8 import configuration, describe, size, values_of
from deepfreak.search.trial import Outcome, Trial
from deepfreak.storage.files import versions, whole_file

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.features.cache import FeatureCache
    from deepfreak.models import VectorModel

KIND = "deepfreak classical search"
RESULTS, REPORT, MODEL = "results.json", "report.html", "best.skops"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """What a search has found.

    Attributes
    ----------
    purpose
        The images, the seed and the space, as the journal has them.
    sessions
        The runs of the program that it took.
    importance
        How much each hyperparameter mattered; all add up to 1.
    """

    purpose: Mapping[str, Any]
    trials: tuple[Trial, ...]
    sessions: tuple[Session, ...]
    importance: Mapping[str, float]

    @property
    def best(self) -> Trial | None:
        """The trial with the highest accuracy, of equal ones the first; None if none is done."""
        return best_of(self.trials)

    def best_by(self, choice: str) -> dict[str, Trial]:
        """Return the best trial for each value of the hyperparameter `choice` that has one."""
        of_value: dict[str, list[Trial]] = {}
        for trial in self.trials:
            of_value.setdefault(str(values_of(trial.picks)[choice]), []).append(trial)
        found = {value: best_of(chosen) for value, chosen in sorted(of_value.items())}
        return {value: best for value, best in found.items() if best is not None}

    @property
    def counts(self) -> dict[str, int]:
        """How many trials were done, hit the bound, failed."""
        states = [trial.outcome.state for trial in self.trials if trial.outcome is not None]
        return {state: states.count(state) for state in ("done", "bound", "failed")}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of the sessions: in all, for the features of all trials, and without them."""
        wall = sum(session.wall_s for session in self.sessions)
        extraction = sum(session.extraction_s for session in self.sessions)
        return {"wall": wall, "extraction": extraction, "search": wall - extraction}

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "kind": KIND,
            "purpose": dict(self.purpose),
            "points_in_space": size(),
            "best": None if self.best is None else _to_json(self.best),
            "best_by_extractor": _each(self.best_by("extractor")),
            "best_by_classifier": _each(self.best_by("classifier")),
            "importance": dict(self.importance),
            "counts": self.counts,
            "seconds": self.seconds
            | _spent([trial.outcome for trial in self.trials if trial.outcome is not None]),
            "sessions": [asdict(session) for session in self.sessions],
            "versions": versions("numpy", "scikit-learn", "opencv-python-headless", "optuna"),
            "trials": [_to_json(trial) for trial in self.trials],
        }


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the highest accuracy, of equal ones the first; None if none is done."""
    done = [trial for trial in trials if trial.done]
    return max(done, key=lambda trial: (trial.accuracy, -trial.number), default=None)


def results_of(journal: Journal, purpose: Mapping[str, Any]) -> Results:
    """Return what a journal holds.

    Raises
    ------
    DatasetError
        Not one trial came to its end.
    """
    trials = tuple(journal.trials)
    if best_of(trials) is None:
        outcomes = [trial.outcome for trial in trials if trial.outcome is not None]
        reason = outcomes[0].reason if outcomes else "none was begun"
        raise DatasetError(
            f"expected a trial that comes to its end, found none of {len(trials)}; the first: "
            f"{reason}"
        )
    return Results(
        purpose=dict(purpose),
        trials=trials,
        sessions=tuple(journal.sessions),
        importance=journal.importance(),
    )


def _spent(outcomes: list[Outcome]) -> dict[str, float]:
    """Return the seconds of all trials together: what the workers did."""
    return {
        "trials_features": sum(outcome.features_s for outcome in outcomes),
        "trials_fit": sum(outcome.fit_s for outcome in outcomes),
        "trials_judge": sum(outcome.judge_s for outcome in outcomes),
        "trials_total": sum(outcome.total_s for outcome in outcomes),
    }


def _each(trials: Mapping[str, Trial]) -> dict[str, Any]:
    return {value: _to_json(trial) for value, trial in trials.items()}


def _to_json(trial: Trial) -> dict[str, Any]:
    values = {
        "number": trial.number,
        "picks": dict(trial.picks),
        "settings": values_of(trial.picks),
        "description": describe(trial.picks),
    }
    if trial.outcome is None:
        return values
    seconds = ("features", "fit", "judge", "total")
    return values | {
        "state": trial.outcome.state,
        "reason": trial.outcome.reason,
        "accuracy": trial.outcome.accuracy.to_json() if trial.done else None,
        "seconds": {name: getattr(trial.outcome, f"{name}_s") for name in seconds},
    }


def write_results(out: Path, results: Results) -> None:
    """Write `results` into the folder `out`, as JSON and as a page.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    from deepfreak.reports.search import write_search_page

    text = json.dumps(results.to_json(), indent=1, allow_nan=False) + "\n"
    with whole_file(out / RESULTS, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
    write_search_page(out / REPORT, json.loads(text), overwrite=True)


def train_best(
    results: Results,
    train: "Dataset",
    *,
    cache: "FeatureCache",
    seed: int,
    workers: int,
) -> "VectorModel":
    """Return the model of the best trial, learned again from the same images, and calibrated."""
    from deepfreak.features.sift import SIFT
    from deepfreak.models import train as train_model

    best = results.best
    if best is None or best.outcome is None:
        raise DatasetError("expected a trial that came to its end, found none: search again")
    chosen = configuration(best.picks)
    extractor = (
        cache.words(chosen.extractor, train, seed=seed, workers=workers)
        if isinstance(chosen.extractor, SIFT)
        else chosen.extractor
    )
    model = train_model(
        train,
        extractor=extractor,
        classifier=chosen.classifier,
        groups=results.purpose["real"] is not None,
        seed=seed,
        workers=workers,
        cache=cache,
    )
    found = {
        "trial": best.number,
        "of": len(results.trials),
        "validation_accuracy": best.outcome.accuracy.to_json(),
    }
    return replace(model, manifest={**model.manifest, "search": found})
