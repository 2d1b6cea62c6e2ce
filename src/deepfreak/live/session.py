"""A session of live screening: everything that a run needs, from its settings.

A directory holds all that a session writes::

    ledger.sqlite      every verdict; from it the session is resumed
    verdicts.jsonl     the same as lines of JSON
    hits.lst           frames to keep, as CrystFEL reads a list
    unsure.lst         unsure frames, likewise
    hits/, unsure/     their pixels and peaks, where they were asked for
    spool/             frames that wait for a verdict
    summary.json       the numbers in the end
    session.log        what happened, and when
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepfreak.formats.options import ReadSettings
from deepfreak.live.ledger import Ledger, open_ledger
from deepfreak.live.logs import session_log
from deepfreak.live.messages import Decision, FrameSource, HitSink, OutcomeSink, RunObserver
from deepfreak.live.receive.intake import QueueLimits
from deepfreak.live.run import LiveRun
from deepfreak.live.spool import Spool, make_folder
from deepfreak.live.workers import WorkerPool, WorkerTask
from deepfreak.processors import usable_processors
from deepfreak.screening.policy import MAX_EMPTY_KEPT, MIN_HIT_RECALL, Policy, find_policy
from deepfreak.storage.files import whole_file
from deepfreak.text import unspelled

if TYPE_CHECKING:
    from deepfreak.live.dashboard import DashboardSettings
    from deepfreak.models import Classifier

Show = Callable[[str], None]
MakeSource = Callable[[Ledger], FrameSource]

FRAMES_PER_FILE = 100
# Of a list, and of the directory beside it, by what is in them.
_log = logging.getLogger(__name__)

_NAMES: dict[str, Decision] = {"hits": "keep", "unsure": "unsure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a session.

    Attributes
    ----------
    out
        Its directory, made if it does not exist.
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
        Where frames wait, by default in the session's directory.
    """

    out: Path
    model: Path | None = None
    scores: Path | None = None
    min_hit_recall: float = MIN_HIT_RECALL
    max_empty_kept: float = MAX_EMPTY_KEPT
    workers: int = field(default_factory=usable_processors)
    limits: QueueLimits = field(default_factory=QueueLimits)
    hits: Literal["nxmx", "cxi"] | None = None
    frames_per_file: int = FRAMES_PER_FILE
    forward: str | None = None
    forward_kind: Literal["publish", "answer"] = "publish"
    reading: ReadSettings = field(default_factory=ReadSettings)
    spool: Path | None = None
    dashboard: "DashboardSettings | None" = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveSession:
    """A session that is ready to run; `processes` are those that work for it, this one first."""

    run: LiveRun
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
            _log.info("ended: %s", json.dumps(summary["decisions"]))
        return summary


@contextmanager
def open_session(
    settings: Settings, make_source: MakeSource, *, name: str, say: Show | None = None
) -> Iterator[LiveSession]:
    """Give a session whose workers are ready.

    `make_source` gets the ledger, which knows what an earlier run has had; `name` is what people
    call the source; `say` shows what a person must see. Raises `InputError` where the model has no
    scores, cannot prove what is asked, or the directory holds a session of another kind;
    `OutputError` where the directory cannot be written, or another session writes it.
    """
    from deepfreak.models import load_model

    make_folder(settings.out)
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
        stack.enter_context(session_log(settings.out, say))
        task = WorkerTask(
            model=settings.model,
            policy=policy,
            reading=settings.reading,
            peaks=settings.hits is not None or settings.forward is not None,
            log_level=_log.getEffectiveLevel(),
        )
        # they start while the rest is made
        workers = stack.enter_context(closing(WorkerPool(task, count=settings.workers)))
        ledger = stack.enter_context(
            open_ledger(settings.out / "ledger.sqlite", about, may_follow=_discards_no_more)
        )
        if ledger.begun_with != about:
            _log.warning(
                "%s was begun with thresholds that discard more: discard below %.3g, now %.3g; "
                "keep from %.3g, now %.3g; frames that have a verdict keep it",
                *(settings.out, ledger.begun_with["discard below"], policy.discard_below),
                *(ledger.begun_with["keep from"], policy.keep_from),
            )
        spool = stack.enter_context(
            Spool(settings.spool or settings.out / "spool", ledger.id).held()
        )
        records, hits, each_turn = _sinks(stack, settings, model, ledger)
        observers: list[RunObserver] = []
        address = None
        if settings.dashboard is not None:
            from deepfreak.live.dashboard import serve_dashboard

            metadata = {"source": name, "model": model.name, "policy": policy.promise()}
            observers, address = serve_dashboard(
                stack,
                settings.dashboard,
                model,
                model_file=settings.model,
                policy=policy,
                scores=scores,
                metadata=metadata,
            )
        workers.wait_until_ready()
        _log.info("ready: %s, model %s, %s", name, model.name, policy.promise())
        # not before: what a detector sends into a socket that is not read would be lost with us
        source = make_source(ledger)
        run = LiveRun(
            source,
            workers=workers,
            ledger=ledger,
            spool=spool,
            classes=tuple(model.classes),
            limits=settings.limits,
            records=records,
            hits=hits,
            observers=observers,
            each_turn=each_turn,
            reading=settings.reading,
            pictures=settings.dashboard is not None,
        )
        yield LiveSession(
            processes=(os.getpid(), *workers.processes),
            run=run,
            settings=settings,
            policy=policy,
            model=model.name,
            address=address,
        )


def _discards_no_more(begun_with: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Return whether a session may be resumed as `about` says: it discards no more than before.

    So one that an earlier version began is resumed, whose thresholds discarded more.
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
) -> tuple[list[OutcomeSink], list[HitSink], list[Callable[[], None]]]:
    """Return the sinks of outcomes and of hits, and what must be called in each turn for them."""
    from deepfreak.live.sinks.crystfel_list import CrystFELList
    from deepfreak.live.sinks.json_lines import JsonLines

    hits: list[HitSink] = []
    each_turn: list[Callable[[], None]] = []
    classes = tuple(model.classes)
    lines = JsonLines(settings.out / "verdicts.jsonl", classes=classes)
    records: list[OutcomeSink] = [stack.enter_context(closing(lines))]
    for name, decision in _NAMES.items():
        name_of = lru_cache(maxsize=1000)(partial(_file_name, ledger))
        listed = CrystFELList(settings.out / f"{name}.lst", decision=decision, name_of=name_of)
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
                last=ledger.last_copy(name),
            )
            hits.append(stack.enter_context(closing(files)))
    if settings.forward is not None:
        from deepfreak.live.sinks.crystfel_zmq import CrystFELSocket

        socket = CrystFELSocket(settings.forward, kind=settings.forward_kind)
        hits.append(stack.enter_context(closing(socket)))
        each_turn.append(socket.answer)
    return records, hits, each_turn
