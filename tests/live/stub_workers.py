"""A stand-in for a judge in a worker's process: the truth of a frame says what to do.

Its task is a folder, in which the files `stillborn` and `sleepers` say how many workers are still
to die or to hang when they start, and `gate` keeps those that come after the first one waiting.
"""

import logging
import os
import signal
import time

import deepfreak.live.decide  # noqa: F401 -- before the first frame comes, as real ones do
from deepfreak.live.logs import PipeHandler, about
from deepfreak.live.messages import FrameOutcome, SeriesBegan


def taken(path):
    """Decrement the number in a file; return whether it was positive."""
    left = int(path.read_text()) if path.exists() else 0
    if left == 0:
        return False
    rest = path.with_suffix(f".{os.getpid()}")
    rest.write_text(str(left - 1))
    rest.replace(path)  # whole, whenever a worker is killed
    return True


def work(folder, pipe):
    """Classify frames; in place of `workers.classify_frames`."""
    if taken(folder / "stillborn"):
        os.kill(os.getpid(), signal.SIGKILL)
    if taken(folder / "sleepers"):
        time.sleep(600)
    if (folder / "gate").exists():
        try:
            (folder / "first").touch(exist_ok=False)
        except FileExistsError:
            while (folder / "gate").exists():
                time.sleep(0.01)
    known = set()
    logging.getLogger("deepfreak").addHandler(PipeHandler(pipe.send))
    try:
        pipe.send("ready")
        while (said := pipe.recv()) is not None:
            if isinstance(said, SeriesBegan):
                known.add(said.series)
            else:
                pipe.send(judged(folder, said, known))
    except (EOFError, OSError):
        pass


def judged(folder, job, known):
    """Return the outcome of a frame, or die or hang at it."""
    wish = job.truth or {}
    crashes = folder / f"crashes-{job.number}"
    if "crashes" in wish and not crashes.exists():
        crashes.write_text(str(wish["crashes"]))
    if taken(crashes):
        os.kill(os.getpid(), signal.SIGKILL)
    if "logs" in wish:
        logging.getLogger("deepfreak.stub").warning(
            wish["logs"], extra=about(job.series, job.number)
        )
    if wish.get("hangs"):
        time.sleep(600)
    text = "x" * wish.get("says", 0)
    if wish.get("mask"):
        text = str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    return FrameOutcome(
        series=job.series,
        number=job.number,
        decision="keep" if job.series in known else "unreadable",
        received=job.received,
        decided=time.time(),
        error=text,
    )


def tells_context(_folder, pipe):
    """Report in each outcome the start of its series; in place of `workers.classify_frames`."""
    began = {}
    try:
        pipe.send("ready")
        while (said := pipe.recv()) is not None:
            if isinstance(said, SeriesBegan):
                began[said.series] = said.context.decode()
                continue
            pipe.send(
                FrameOutcome(
                    series=said.series,
                    number=said.number,
                    decision="keep",
                    received=said.received,
                    decided=said.received,
                    error=began[said.series],
                )
            )
    except (EOFError, OSError):
        pass
