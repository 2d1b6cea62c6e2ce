"""Kill a session that receives series without ids from a detector that restarts.

Run: python benchmarks/streams.py --out FOLDER [--count 5000] [--rate 100] [--kills 10]
     [--series 250] [--seed 0] [--protocol v1]

A simulated detector sends series of shots without a unique id, at a fixed rate. It starts a series
one second after a listener connects, and then does not wait. After every third series it restarts
without an end message and counts from 1 again. Of four series two have their start message in time,
one late and one never. At random moments within series the session is killed (`kill -9`) and
restarted. Each frame carries its true number, so that every verdict can be compared with what was
sent.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from deepfreak.live.ledger import read_ledger
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.messages import End, Start
from deepfreak.live.receive.dectris.sender import StreamSender, encode_image
from deepfreak.live.replay import record_shots
from deepfreak.live.spool import Spool
from deepfreak.physics.recipe import load_recipe

ADDRESS = "tcp://127.0.0.1:31988"
SHOTS = 50
SERIES_BETWEEN_RESTARTS = 3
PATIENCE_S = 120.0
STARTS = ("in time", "late", "in time", "never")

Frame = tuple[int, int]  # number of the series, and of the image in it


class Session:
    """A session that is killed and restarted, and the frames that it had received."""

    def __init__(self, out: Path) -> None:
        self.out, self.was_ours, self.kills = out, set[Frame](), 0
        self._begin()

    def _begin(self) -> None:
        command = [sys.executable, "-m", "deepfreak", "listen", ADDRESS, "--out", str(self.out)]
        command += ["--workers", "1", "--queue", "500"]
        with (self.out / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """Kill it with all its workers, note the frames received, and restart it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self.was_ours |= self.ours()
        self._begin()

    def ours(self) -> set[Frame]:
        """Return the frames with a verdict and those in the spool."""
        path = self.out / "ledger.sqlite"
        if not path.exists():
            return set()
        with read_ledger(path) as ledger:
            truths = [row.outcome.truth for rows in ledger.after(0) for row in rows]
            waiting = Spool(self.out / "spool", ledger.id).left()
            truths += [arrival.truth for _, arrival in waiting]
        return {(truth["of"], truth["image"]) for truth in truths}

    def finish(self) -> None:
        """Stop it as Ctrl-C does, after a pause without frames."""
        time.sleep(5)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)


def send(
    options: argparse.Namespace, session: Session
) -> tuple[set[Frame], dict[int, tuple[int, float]]]:
    """Send all series.

    Return the frames that the socket accepted and, for each series with a start message, the image
    before which it was sent and the time in seconds since 1970.
    """
    protocol = options.protocol
    recording = record_shots(load_recipe("diffranet"), seed=0, count=SHOTS, protocol=protocol)
    rng = np.random.default_rng(options.seed)
    many = options.count // options.series
    kills = {
        int(series): int(rng.integers(options.series // 10, options.series))
        for series in rng.choice(many, options.kills, replace=False)
    }
    taken, starts = set[Frame](), dict[int, tuple[int, float]]()
    speaker = StreamSender(ADDRESS, protocol=protocol, high_water=100)
    number = 0
    for series in range(many):
        if series and series % SERIES_BETWEEN_RESTARTS == 0:
            speaker.close(within_s=1.0)
            speaker, number = StreamSender(ADDRESS, protocol=protocol, high_water=100), 0
        number += 1
        start = Start(
            series_id=number,
            expected=options.series,
            shape=recording.frames[0][0].shape,
            channels=("threshold_1",),
            metadata=recording.metadata,
            masks={} if recording.mask is None else {"threshold_1": recording.mask},
            simulated=True,
        )
        before = {"in time": 0, "late": options.series // 5, "never": -1}[STARTS[series % 4]]
        if not speaker.wait(PATIENCE_S):
            raise SystemExit("the session does not listen; see its log")
        time.sleep(1)
        began = time.perf_counter()
        for image in range(options.series):
            if image == kills.get(series):
                session.kill()
            time.sleep(max(0.0, began + image / options.rate - time.perf_counter()))
            if image == before and speaker.start(start):
                starts[series] = image, time.time()
            pixels, truth = recording.frames[image % SHOTS]
            truth = truth | {"of": series, "image": image}
            if speaker.send(
                encode_image(image, pixels, start=start, protocol=protocol, truth=truth)
            ):
                taken.add((series, image))
        if (series + 1) % SERIES_BETWEEN_RESTARTS:
            end = End(series_id=number)
            speaker.send((json_v1 if protocol == "v1" else cbor_v2).encode_end(end))
    speaker.close(within_s=1.0)
    return taken, starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--series", type=int, default=250, help="images per series")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocol", choices=["v1", "v2"], default="v1")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    session = Session(options.out)
    try:
        taken, starts = send(options, session)
        session.finish()
    finally:
        if session.process.poll() is None:
            session.process.kill()
    rows = [json.loads(line) for line in (options.out / "verdicts.jsonl").open()]
    frames = [(row["truth"]["of"], row["truth"]["image"]) for row in rows]
    recorded = set(frames)
    named = defaultdict(set)
    for row, (series, _) in zip(rows, frames, strict=True):
        named[row["series"]].add(series)
    with read_ledger(options.out / "ledger.sqlite") as ledger:
        series_reports, duplicates = ledger.series_reports(), ledger.count("duplicates")
    missed = sum(each.missed_count for each in series_reports)
    to_come = sum(
        max(each.expected - each.received - each.missed_count, 0)
        for each in series_reports
        if each.expected is not None and not each.ended
    )
    judged = [row for row in rows if row["decision"] not in {"dropped", "unreadable"}]
    marks = Counter()
    for row in judged:
        image, at = starts.get(row["truth"]["of"], (options.series, float("inf")))
        decided = row["received"] + row["latency_ms"] / 1e3
        behind = "behind" if row["truth"]["image"] >= image else "before"
        marks["judged before" if decided < at else behind, "start" in row["judged_without"]] += 1
    sent = options.count // options.series * options.series
    print(f"sent, in {options.count // options.series} series      {sent}")
    print(f"killed                     {session.kills} times")
    print(f"accepted by the socket     {len(taken)}")
    print(f"recorded                   {len(recorded)}")
    print(f"  of these dropped         {len(rows) - len(judged)}")
    print(f"  classified               {len(judged)}")
    print(f"missing, by number         {missed}")
    print(f"outstanding, open series   {to_come}")
    print(f"in series of unknown length {sent - len(recorded) - missed - to_come}")
    print(f"lost after receipt         {len(session.was_ours - recorded)}")
    print(f"recorded twice             {len(frames) - len(recorded)}")
    print(f"treated as duplicates      {duplicates}")
    print(f"recorded series            {len(series_reports)}")
    print(f"  mixing two series        {sum(len(each) > 1 for each in named.values())}")
    print("verdicts, and how many are marked as without a start message:")
    for when, what in (
        ("judged before", "classified before the start message was sent, or without any"),
        ("before", "sent before the start message, classified after it"),
        ("behind", "sent after the start message"),
    ):
        print(f"  {what}: {marks[when, True] + marks[when, False]}, {marks[when, True]}")


if __name__ == "__main__":
    main()
