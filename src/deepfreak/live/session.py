"""A session of live screening, put together: everything that a run needs, from a few settings.

A folder holds all that a session writes::

    ledger.sqlite      every verdict; from it the session goes on
    verdicts.jsonl     the same as lines of JSON
    hits.lst           frames to keep, as CrystFEL reads a list
    unsure.lst         unsure frames, likewise
    hits/, unsure/     their pixels and peaks, where they were asked for
    spool/             frames that wait for a verdict
    summary.json       what came of it
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepfreak.errors import OutputError
from deepfreak.formats.options import ReadSettings
from deepfreak.live.events import Decision, HitSink, RecordSink, Source
from deepfreak.live.intake import Limits
from deepfreak.live.ledger import Ledger, open_ledger
from deepfreak.live.run import Run, Watcher
from deepfreak.live.spool import Spool
from deepfreak.live.workers import Task, Workers
from deepfreak.processors import usable_processors
from deepfreak.screening.policy import (
    MAX_EMPTY_KEPT,
    MIN_HIT_RECALL,
    Policy,
    find_policy,
)
from deepfreak.storage.files import reason_of, whole_file
from deepfreak.text import unspelled

if TYPE_CHECKING:
    from deepfreak.live.board import Dashboard
    from deepfreak.models import Classifier

Say = Callable[[str], None]
MakeSource = Callable[[Ledger], Source]

FRAMES_PER_FILE = 100
# Of a list, and of the folder beside it, by what is in them.
_NAMES: dict[str, Decision] = {"hits": "keep", "unsure": "unsure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a session does.

    Attributes
    ----------
    out
        Its folder, made if there is none.
    model, scores
        Files; None for those that ship, or for the scores beside the model. `scores` are those of
        this detector; see `policy_from`.
    min_hit_recall, max_empty_kept
        See `policy_from`.
    hits
        Format in which kept and unsure frames are copied.
    forward
        Address at which kept and unsure frames are forwarded to CrystFEL (--zmq-input), such as
        tcp://127.0.0.1:5002.
    forward_kind
        Publish to subscribers, or answer requests (--zmq-request).
    reading
        What the user gives beside a stream.
    spool
        Where frames wait, by default in the session's folder.
    """

    out: Path
    model: Path | None = None
    scores: Path | None = None
    min_hit_recall: float = MIN_HIT_RECALL
    max_empty_kept: float = MAX_EMPTY_KEPT
    workers: int = field(default_factory=usable_processors)
    limits: Limits = field(default_factory=Limits)
    hits: Literal["nxmx", "cxi"] | None = None
    frames_per_file: int = FRAMES_PER_FILE
    forward: str | None = None
    forward_kind: Literal["publish", "answer"] = "publish"
    reading: ReadSettings = field(default_factory=ReadSettings)
    spool: Path | None = None
    dashboard: "Dashboard | None" = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """A session that is ready to run; `processes` are those that work for it, this one first."""

    run: Run
    processes: tuple[int, ...]
    settings: Settings
    policy: Policy
    model: str
    address: str | None

    def until(self, stop: threading.Event) -> dict[str, Any]:
        """Work until the source ends or `stop` is set; write and return the summary."""
        try:
            self.run.until(stop)
        finally:
            summary = {"model": self.model, "policy": self.policy.to_json(), **self.run.summary()}
            with whole_file(self.settings.out / "summary.json", overwrite=True) as partial:
                partial.write_text(json.dumps(summary, indent=1) + "\n")
        return summary


@contextmanager
def open_session(
    settings: Settings, make_source: MakeSource, *, name: str, say: Say = lambda _: None
) -> Iterator[Session]:
    """Give a session whose workers are ready.

    Parameters
    ----------
    make_source
        Gets the ledger, which knows what an earlier run has had.
    name
        What people call the source.
    say
        Gets a line when something happens that a person should know.

    Raises
    ------
    InputError
        The model has no scores, cannot prove what is asked, or the folder holds a session of
        another kind.
    OutputError
        The folder cannot be written, or another session writes it.
    """
    from deepfreak.models import load_model

    _make(settings.out)
    model = load_model(settings.model)
    policy, scores = find_policy(
        model,
        model=settings.model,
        scores=settings.scores,
        min_hit_recall=settings.min_hit_recall,
        max_empty_kept=settings.max_empty_kept,
    )
    about = {
        "model": model.name,
        "classes": list(model.classes),
        "discard below": policy.discard_below,
        "keep from": policy.keep_from,
    }
    with ExitStack() as stack:
        task = Task(
            model=settings.model,
            policy=policy,
            reading=settings.reading,
            peaks=settings.hits is not None or settings.forward is not None,
        )
        # they start while the rest is made
        workers = stack.enter_context(closing(Workers(task, count=settings.workers)))
        ledger = stack.enter_context(
            open_ledger(settings.out / "ledger.sqlite", about, may_follow=_discards_no_more)
        )
        if ledger.begun_with != about:
            say(
                f"{settings.out} was begun with thresholds that discard more: discard below "
                f"{ledger.begun_with['discard below']:.3g}, now {policy.discard_below:.3g}; keep "
                f"from {ledger.begun_with['keep from']:.3g}, now {policy.keep_from:.3g}; frames "
                "that have a verdict keep it"
            )
        spool = stack.enter_context(
            Spool(settings.spool or settings.out / "spool", ledger.id).held()
        )
        records, hits, each_turn = _sinks(stack, settings, model, ledger)
        watchers: list[Watcher] = []
        address = None
        if settings.dashboard is not None:
            from deepfreak.live.board import serve_board

            facts = {"source": name, "model": model.name, "policy": policy.promise()}
            board, address = serve_board(
                stack,
                settings.dashboard,
                model,
                model_file=settings.model,
                policy=policy,
                scores=scores,
                facts=facts,
            )
            watchers.append(board)
        workers.wait_until_ready()
        # not before: what a detector sends into a socket that nobody reads would be lost with us
        source = make_source(ledger)
        run = Run(
            source,
            workers=workers,
            ledger=ledger,
            spool=spool,
            classes=tuple(model.classes),
            limits=settings.limits,
            records=records,
            hits=hits,
            watchers=watchers,
            each_turn=each_turn,
            reading=settings.reading,
            pictures=settings.dashboard is not None,
            say=say,
        )
        yield Session(
            processes=(os.getpid(), *workers.processes),
            run=run,
            settings=settings,
            policy=policy,
            model=model.name,
            address=address,
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason_of(error)}") from error


def _discards_no_more(begun_with: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Return whether a session may go on as `about` says, thresholds being no bolder than before.

    So one that an earlier version began goes on, whose thresholds discarded more.
    """
    bounds = ("discard below", "keep from")
    if {**begun_with, **{name: about[name] for name in bounds}} != about:
        return False
    before = [begun_with.get(name) for name in bounds]
    return (
        all(isinstance(value, float) for value in before)
        and about["discard below"] <= before[0]
        and before[1] <= about["keep from"]
    )


def _file_name(ledger: Ledger, series: str) -> str:
    """Return the name of the file that a series is; of others the series' own."""
    began = ledger.began(series)
    return unspelled(series) if began is not None and began.kind == "file" else series


def _sinks(
    stack: ExitStack, settings: Settings, model: "Classifier", ledger: Ledger
) -> tuple[list[RecordSink], list[HitSink], list[Callable[[], None]]]:
    """Return where verdicts go, where frames go, and what must be done now and then for them."""
    from deepfreak.live.sinks.crystfel_list import CrystFELList
    from deepfreak.live.sinks.records import JsonLines

    hits: list[HitSink] = []
    each_turn: list[Callable[[], None]] = []
    classes = tuple(model.classes)
    lines = JsonLines(settings.out / "verdicts.jsonl", classes=classes)
    records: list[RecordSink] = [stack.enter_context(closing(lines))]
    for name, decision in _NAMES.items():
        listed = CrystFELList(settings.out / f"{name}.lst", decision=decision)
        listed.name_of = lru_cache(maxsize=1000)(lambda series: _file_name(ledger, series))
        # closed behind the copies, whose last file it has to name
        records.append(stack.enter_context(closing(listed)))
        if settings.hits is not None:
            from deepfreak.live.sinks.hit_files import HitFiles

            files = HitFiles(
                settings.out / name,
                form=settings.hits,
                decision=decision,
                frames_per_file=settings.frames_per_file,
                classes=classes,
            )
            hits.append(stack.enter_context(closing(files)))
            listed.place = files.place
    if settings.forward is not None:
        from deepfreak.live.sinks.crystfel_zmq import CrystFELSocket

        socket = CrystFELSocket(settings.forward, kind=settings.forward_kind)
        hits.append(stack.enter_context(closing(socket)))
        each_turn.append(socket.answer)
    return records, hits, each_turn
