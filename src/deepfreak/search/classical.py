"""The joint search: extractor and classifier chosen together (the paper's sections 4.2 and 5.1).

One process proposes the trials, computes the features that they need, and keeps the journal; fits
are made in children that can be killed, here or on a cluster.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from deepfreak.classes import GROUPS, group_weights, grouped
from deepfreak.datasets.executors import dask_cluster
from deepfreak.errors import InputError, OutputError
from deepfreak.features.cache import FeatureCache
from deepfreak.models.files import save_model
from deepfreak.search.children import children, outcome_alone
from deepfreak.search.classical_results import (
    MODEL,
    REPORT,
    RESULTS,
    Results,
    Session,
    best_of,
    results_of,
    state_of,
    train_best,
    write_results,
)
from deepfreak.search.images import Extraction, Images, Progress, described, no_progress
from deepfreak.search.journal import Journal, open_journal
from deepfreak.search.loop import Loop, ended, identity
from deepfreak.search.samplers.tpe import TPE
from deepfreak.search.space import Settings
from deepfreak.search.tables import TABLE_8, describe, pipeline
from deepfreak.search.trial import Outcome, Trial
from deepfreak.settings import Count, Positive, settings

SCORE = f"{__name__}:score"
JOURNAL = "journal.log"


@settings
class Plan:
    """What a search does; the number of trials is the paper's (section 5.1).

    Parameters
    ----------
    trials
        Number of trials.
    seed
        Seed of the proposals, the forests and the visual words.
    at_once
        Trials under way at once, however many workers there are. Each is proposed with the outcomes
        of all but the `at_once` - 1 before it, so that the trials do not depend on the workers.
    trial_seconds
        Seconds after which a trial is stopped.
    """

    trials: Count = 150
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    at_once: Count = 8
    trial_seconds: Positive = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What another process needs to make a trial."""

    settings: Settings
    images: Images
    cache: Path | None
    seed: int


class Workers(Protocol):
    """Make trials."""

    def submit(self, argument: Task, seconds: float) -> "Future[Outcome]":
        """Begin `score` of a task, with a time limit."""


@dataclass(frozen=True, slots=True)
class ClusterWorkers:
    """A cluster, whose workers start a child for each trial."""

    executor: Executor
    function: str = SCORE

    def submit(self, argument: Task, seconds: float) -> "Future[Outcome]":
        """Begin a trial on any worker; if that crashes, on another."""
        return self.executor.submit(outcome_alone, self.function, argument, seconds)


@contextmanager
def search_workers(workers: int, dask: str | None = None) -> Iterator[Workers]:
    """Give children here, or the workers of the cluster whose scheduler has the address `dask`."""
    if dask is None:
        with children(SCORE, workers) as here:
            yield here
    else:
        with dask_cluster(dask) as (executor, _):
            yield ClusterWorkers(executor)


def score(task: Task) -> Outcome:
    """Train on the training images and evaluate on the validation images.

    Vectors that are not in the cache are computed, so that the outcome never depends on it.
    """
    chosen, cache = pipeline(task.settings), FeatureCache(task.cache)
    times = [time.perf_counter()]
    with task.images.open() as (train, validation):
        extractor = cache.fitted(chosen.extractor, train, seed=task.seed)
        vectors, unseen = cache.vectors(extractor, train), cache.vectors(extractor, validation)
        labels, truth = train.labels, validation.labels
        classifier, classes = chosen.classifier, train.classes
        if task.images.real is not None:
            weights = group_weights(classifier.class_weight, classes)
            classifier = replace(classifier, class_weight=weights)
            labels, classes = grouped(labels, classes), GROUPS
    times.append(time.perf_counter())
    fitted = classifier.fit(vectors, labels, classes=len(classes), seed=task.seed)
    times.append(time.perf_counter())
    hits = int(np.count_nonzero(fitted.predict(unseen) == truth))
    times.append(time.perf_counter())
    names = ("features_s", "fit_s", "evaluate_s")
    info = {
        "hits": hits,
        "total": len(truth),
        **dict(zip(names, np.diff(times).tolist(), strict=True)),
    }
    return Outcome(1 - hits / len(truth), info, seconds=times[-1] - times[0])


def search(
    images: Images,
    out: Path,
    *,
    plan: Plan,
    cache: FeatureCache,
    workers: int = 1,
    dask: str | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Callable[[str], None] = lambda _: None,
    made_by: Workers | None = None,
    save: bool = True,
) -> Results:
    """Search for the settings with the best accuracy on the validation images.

    The directory `out` gets the journal, the results as JSON and as a page, and the best model. An
    interrupted search resumes when it is called again with the same images and plan; `plan.trials`
    may have grown.

    Parameters
    ----------
    cache
        A cluster's workers must see its directory, and the images, under the same names.
    workers
        Processes for the trials, and threads for the features.
    progress, say
        Get what is shown meanwhile: bars, and a line for each trial.
    made_by
        What makes the trials, in place of `workers` and `dask`.
    save
        Whether to write more than the journal.

    Raises
    ------
    DatasetError
        The images cannot be used, or no trial succeeded.
    OutputError
        `out` holds another search, or cannot be written.
    """
    sampler = TPE(space=TABLE_8, trials=plan.trials, seed=plan.seed)
    with images.open() as (train, validation):
        purpose = {"train": described(train), "validation": described(validation)}
        _check_folder(out, overwrite=overwrite)
        with (
            open_journal(
                out / JOURNAL,
                identity(sampler, plan.at_once, purpose),
                overwrite=overwrite,
                advice="choose another directory or add --overwrite",
            ) as journal,
            search_workers(workers, dask) if made_by is None else nullcontext(made_by) as places,
        ):
            if overwrite:
                for name in (RESULTS, REPORT, MODEL):
                    (out / name).unlink(missing_ok=True)
            run = _Run(
                images=images,
                plan=plan,
                places=places,
                threads=workers,
                extraction=Extraction(cache, (train, validation), progress=progress),
                journal=journal,
                say=say,
            )
            run.loop = Loop(
                sampler=sampler,
                begin=run.begin,
                under_way=plan.at_once,
                journal=journal,
                on_trial=run.note,
            )
            results = results_of(run.loop.run().trials, journal.sessions, purpose, seed=plan.seed)
        if save:
            write_results(out, results)
            model = train_best(results, train, cache=cache, workers=workers)
            save_model(model, out / MODEL, overwrite=True)
    return results


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run of the program: features, trials, and its notes on them."""

    images: Images
    plan: Plan
    places: Workers
    threads: int
    extraction: Extraction
    journal: Journal
    say: Callable[[str], None]
    loop: Loop = field(init=False)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    began: float = field(default_factory=time.monotonic)
    made: int = 0

    def begin(self, trial: Trial) -> "Future[Outcome]":
        """Compute the features of a trial, if they are not in the cache, and begin it.

        All threads extract, even while other trials are under way: most of these end before.
        """
        try:
            self.extraction.ensure(
                pipeline(trial.settings).extractor,
                workers=self.threads,
                meanwhile=self.loop.write_down,
            )
        except InputError as error:
            return ended(Outcome(math.inf, error=str(error)))
        folder = self.extraction.cache.folder
        task = Task(
            settings=trial.settings,
            images=self.images.absolute(),
            cache=folder and folder.absolute(),
            seed=trial.seed,
        )
        return self.places.submit(task, self.plan.trial_seconds)

    def note(self, trial: Trial) -> None:
        """Write down how long this run has taken, and say how a trial ended and what is left."""
        self.made += 1
        spent = time.monotonic() - self.began
        session = Session(
            started=self.started,
            workers=self.threads,
            trial_seconds=self.plan.trial_seconds,
            wall_s=spent,
            extraction_s=self.extraction.seconds,
        )
        self.journal.note(asdict(session))
        trials = [each for each, _ in self.journal.trials.values()]
        left = self.plan.trials - len(trials)
        left_s = (spent - self.extraction.seconds) / self.made * left
        outcome, best = trial.outcome, best_of(trials)
        if outcome is None:
            raise AssertionError
        said = {
            "done": f"{100 * (1 - trial.loss):.2f} %",
            "timed out": "reached the time limit",
            "failed": f"failed ({outcome.error})",
        }[state_of(trial)]
        so_far = "none yet" if best is None else f"{100 * (1 - best.loss):.2f} % ({best.number})"
        self.say(
            f"trial {trial.number}, {len(trials)} of {self.plan.trials}: {said} in "
            f"{outcome.seconds:.1f} s, {describe(trial.settings)}; best {so_far}, about "
            f"{left_s / 60:.0f} min left"
        )


def _check_folder(out: Path, *, overwrite: bool) -> None:
    """Make `out` if need be; reject results without a journal, which are no search's."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; expected the name of a directory to write into")
    if not out.absolute().parent.is_dir():
        raise OutputError(
            f"no directory {out.absolute().parent} to make {out.name} in; make it first"
        )
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {out}: {error.strerror}") from error
    found = [name for name in (RESULTS, REPORT, MODEL) if (out / name).exists()]
    if found and not overwrite and not (out / JOURNAL).exists():
        raise OutputError(
            f"{out / found[0]} exists, but no {JOURNAL} to resume from: choose another directory "
            "or add --overwrite"
        )
