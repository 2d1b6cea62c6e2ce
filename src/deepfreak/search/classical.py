"""The joint search: extractor and classifier chosen together (the paper's sections 4.2 and 5.1).

One process chooses the trials, computes the features that they need, and keeps the journal; fits
are done in children that can be killed, here or on a cluster.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from deepfreak.datasets.executors import dask_cluster
from deepfreak.errors import BackendError, InputError, OutputError
from deepfreak.features.cache import FeatureCache
from deepfreak.models.files import save_model
from deepfreak.search.bounded import OverTimeError, bounded_workers, call_once
from deepfreak.search.extraction import Extraction, Progress, no_progress
from deepfreak.search.journal import JOURNAL, Journal, Session, open_journal
from deepfreak.search.results import (
    MODEL,
    REPORT,
    RESULTS,
    Results,
    best_of,
    results_of,
    train_best,
    write_results,
)
from deepfreak.search.space import TABLE_8, configuration, describe
from deepfreak.search.tpe import propose
from deepfreak.search.trial import Images, Outcome, Task, Trial
from deepfreak.settings import Count, Positive, settings

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset

SCORE = "deepfreak.search.trial:score"


@settings
class Plan:
    """What a search is to do; the number of trials is the paper's (section 5.1).

    Parameters
    ----------
    trials
        Number of trials.
    seed
        Seed of the proposals, the forests and the visual words.
    at_once
        Trials under way at once, however many workers there are. Each is chosen with the outcomes
        of all but the `at_once` - 1 before it, so that it does not depend on the number of workers
        which trials there are.
    trial_seconds
        Seconds after which a trial is ended.
    """

    trials: Count = 150
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    at_once: Count = 8
    trial_seconds: Positive = 600.0


class Workers(Protocol):
    """Where trials are made."""

    def submit(self, argument: dict[str, Any], seconds: float) -> "Future[dict[str, Any]]":
        """Begin `score` of a `Task`, and end it after so many seconds."""


@dataclass(frozen=True, slots=True)
class ClusterWorkers:
    """A cluster, whose workers start a child for each trial."""

    executor: Executor

    def submit(self, argument: dict[str, Any], seconds: float) -> "Future[dict[str, Any]]":
        """Begin a trial on any worker; if that dies, on another."""
        return self.executor.submit(call_once, SCORE, argument, seconds)


@contextmanager
def search_workers(workers: int, dask: str | None = None) -> Iterator[tuple[Workers, int]]:
    """Give where trials are made, and how many at once: in children here, or on a cluster.

    Parameters
    ----------
    dask
        Address of the cluster's scheduler.
    """
    if dask is None:
        with bounded_workers(SCORE, workers) as here:
            yield here, workers
    else:
        with dask_cluster(dask) as (executor, threads):
            yield ClusterWorkers(executor), threads


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
) -> Results:
    """Search for the configuration with the best accuracy on the validation images.

    Leaves in the folder `out` the journal, the results as JSON and as a page, and the best model,
    and returns the results. A search that was broken off, however roughly, goes on where it was
    when it is called again with the same images and plan; `plan.trials` may have grown.

    Parameters
    ----------
    cache
        A cluster's workers must see its folder, and the images, under the same names.
    workers
        Processes for the trials, and threads for the features.
    progress, say
        Get what is shown meanwhile: bars, and a line for each trial.

    Raises
    ------
    DatasetError
        The images cannot be used, or not one trial came to its end.
    OutputError
        `out` holds another search, or cannot be written.
    """
    with images.open() as (train, validation):
        purpose = _purpose(images, train, validation, plan)
        _check_folder(out, overwrite=overwrite)
        with open_journal(out, purpose, overwrite=overwrite) as journal:
            if overwrite:
                for name in (RESULTS, REPORT, MODEL):
                    (out / name).unlink(missing_ok=True)
            extraction = Extraction(cache, (train, validation), progress=progress)
            with search_workers(workers, dask) as (places, number):
                _Loop(
                    journal=journal,
                    plan=plan,
                    task=lambda picks: Task(
                        picks=picks, images=images, cache=cache.folder, seed=plan.seed
                    ),
                    places=places,
                    number=number,
                    threads=workers,
                    extraction=extraction,
                    say=say,
                ).run()
            results = results_of(journal, purpose)
            write_results(out, results)
            model = train_best(results, train, cache=cache, seed=plan.seed, workers=workers)
            save_model(model, out / MODEL, overwrite=True)
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """The trials from the first that is not finished to the last.

    Attributes
    ----------
    number
        How many are made at once.
    threads
        For the features.
    under_way
        Trials that have begun, and when.
    finished
        Numbers of those that this process has seen end.
    """

    journal: Journal
    plan: Plan
    task: Callable[[Mapping[str, int]], Task]
    places: Workers
    number: int
    threads: int
    extraction: Extraction
    say: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)
    under_way: dict["Future[dict[str, Any]]", tuple[Trial, float]] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def run(self) -> None:
        """Make all trials, `number` at a time, and write down each as it ends."""
        left_over = [trial for trial in self.journal.trials if trial.outcome is None]
        while True:
            while len(self.under_way) < self.number:
                trial = left_over.pop(0) if left_over else self._next()
                if trial is None:
                    break
                self._begin(trial)
            if not self.under_way:
                return
            self._collect(timeout=None)

    def _next(self) -> Trial | None:
        """Return the next trial, written down; None if there is none, or none yet."""
        history = self.journal.trials
        if len(history) >= self.plan.trials:
            return None
        needed = history[: max(len(history) - self.plan.at_once + 1, 0)]
        if any(trial.outcome is None for trial in needed):
            return None
        return self.journal.add(propose(history, seed=self.plan.seed, at_once=self.plan.at_once))

    def _begin(self, trial: Trial) -> None:
        """Have the features of a trial in the cache, and begin it.

        All threads extract, even while other trials are under way: most of these end before.
        """
        future: Future[dict[str, Any]] = Future()
        try:
            self.extraction.ensure(
                configuration(trial.picks).extractor,
                workers=self.threads,
                meanwhile=lambda: self._collect(timeout=0),
            )
        except InputError as error:
            future.set_exception(error)
        else:
            task = self.task(trial.picks).to_json()
            future = self.places.submit(task, self.plan.trial_seconds)
        self.under_way[future] = trial, time.monotonic()
        self._note()

    def _collect(self, *, timeout: float | None) -> None:
        """Write down the trials that have ended; wait for one if `timeout` is None."""
        ended = wait(self.under_way, timeout, return_when=FIRST_COMPLETED).done
        for future in ended:
            trial, begun = self.under_way.pop(future)
            outcome = self._outcome(future, time.monotonic() - begun)
            trial = self.journal.finish(trial.number, outcome)
            self.finished.append(trial.number)
            self._tell(trial)
        if ended:
            self._note()

    def _outcome(self, future: "Future[dict[str, Any]]", seconds: float) -> Outcome:
        """Return how a trial ended; whatever its own fault is does not end the search."""
        try:
            return Outcome(**future.result())
        except OverTimeError as error:
            return Outcome(state="bound", total_s=seconds, reason=str(error))
        except CancelledError as error:
            raise BackendError(
                "the cluster's scheduler has gone; start it and give the same command again"
            ) from error
        except Exception as error:  # noqa: BLE001 -- a cluster passes on whatever its workers met
            reason = " ".join(str(error).split()) or type(error).__name__
            return Outcome(state="failed", total_s=seconds, reason=reason)

    def _note(self) -> None:
        self.journal.note(
            Session(
                started=self.began,
                workers=self.number,
                trial_seconds=self.plan.trial_seconds,
                wall_s=time.monotonic() - self.started,
                extraction_s=self.extraction.seconds,
            )
        )

    def _tell(self, trial: Trial) -> None:
        """Say how a trial ended, the best so far, and how long the rest will take."""
        if trial.outcome is None:
            raise AssertionError
        trials = self.journal.trials
        ended = sum(each.outcome is not None for each in trials)
        best = best_of(trials)
        spent = time.monotonic() - self.started - self.extraction.seconds
        left_s = spent / len(self.finished) * (self.plan.trials - ended)
        said = {
            "done": f"{100 * trial.accuracy:.2f} %",
            "bound": "hit the bound",
            "failed": f"failed ({trial.outcome.reason})",
        }[trial.outcome.state]
        so_far = "none yet" if best is None else f"{100 * best.accuracy:.2f} % ({best.number})"
        self.say(
            f"trial {trial.number}, {ended} of {self.plan.trials}: {said} in "
            f"{trial.outcome.total_s:.1f} s, {describe(trial.picks)}; best {so_far}, about "
            f"{left_s / 60:.0f} min left"
        )


def _purpose(images: Images, train: "Dataset", validation: "Dataset", plan: Plan) -> dict[str, Any]:
    """Return what decides which trials there are, and what comes of them: JSON values."""
    return {
        "data": images.data.name,
        "real": None if images.real is None else images.real.name,
        "train": _identity(train),
        "validation": _identity(validation),
        "seed": plan.seed,
        "at_once": plan.at_once,
        "space": {choice.name: choice.labels for choice in TABLE_8},
    }


def _identity(data: "Dataset") -> dict[str, Any]:
    """Return how many images there are, and hashes of their labels and of how they were made."""
    manifest = json.dumps(data.manifest, sort_keys=True).encode()
    return {
        "count": len(data),
        "classes": list(data.classes),
        "labels_sha256": hashlib.sha256(data.labels.tobytes()).hexdigest(),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }


def _check_folder(out: Path, *, overwrite: bool) -> None:
    """Make `out`, if it is not there; refuse results without a journal, which are not a search's.

    Raises
    ------
    OutputError
        In one line, before any work is done.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; expected the name of a folder to write into")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"no folder {out.absolute().parent} to make {out.name} in; make it first")
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {out}: {error.strerror}") from error
    there = [name for name in (RESULTS, REPORT, MODEL) if (out / name).exists()]
    if there and not overwrite and not (out / JOURNAL).exists():
        raise OutputError(
            f"{out / there[0]} exists, but no {JOURNAL} to go on with: choose another folder or "
            "add --overwrite"
        )
