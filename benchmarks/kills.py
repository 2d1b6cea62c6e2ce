"""Kill a live session repeatedly; count frames sent, received, recorded and lost.

Run: python benchmarks/kills.py --out FOLDER [--count 100000] [--rate 150] [--kills 3]
     [--model FILE --scores FILE]

A simulated detector sends shots at a fixed rate to a session. At random times one worker is killed,
then the session and all its workers (`kill -9`), and the session is restarted. After each kill the
frames in the spool and in the ledger count as received. In the end each received frame must have
exactly one verdict, and every number without a verdict must be counted as missing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import psutil

from deepfreak.errors import InputError
from deepfreak.live.ledger import read_ledger
from deepfreak.live.spool import Spool

PORT = 31987


def begin(options: argparse.Namespace, log: Path) -> "subprocess.Popen[bytes]":
    """Start a session in its own process group."""
    command = [sys.executable, "-m", "deepfreak", "listen", f"tcp://127.0.0.1:{PORT}"]
    command += ["--out", str(options.out), "--workers", "1", "--queue", "500"]
    for name in ("model", "scores"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def numbers_in(out: Path) -> set[int]:
    """Return the frame numbers with a verdict."""
    try:
        with read_ledger(out / "ledger.sqlite") as ledger:
            return {row.outcome.number for rows in ledger.after(0) for row in rows}
    except InputError:  # still being created
        return set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--scores", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    log, rng = options.out / "log", np.random.default_rng(options.seed)
    speak = ["live", "replay", "diffranet", "--bind", f"tcp://127.0.0.1:{PORT}"]
    speak += ["--high-water", "100"]
    speak += ["--count", str(options.count), "--rate", str(options.rate), "--workers", "1"]
    speak += ["--wait", "120", "--truth", str(options.out / "truth.csv")]
    sender = subprocess.Popen(
        [sys.executable, "-m", "deepfreak", *speak],
        stdout=subprocess.PIPE,
        text=True,
    )
    session = begin(options, log)
    lasts = options.count / options.rate
    moments = np.sort(rng.uniform(0.1, 0.9, options.kills)) * lasts
    while not numbers_in(options.out):
        time.sleep(0.2)
    began, was_ours, rows = time.monotonic(), set(), []
    for moment in moments:
        time.sleep(max(0.0, began + moment - time.monotonic() - 5))
        judges = psutil.Process(session.pid).children()
        if judges:  # not yet, in a session that is just starting
            rng.choice(judges).kill()  # first one worker
        time.sleep(max(0.0, began + moment - time.monotonic()))
        os.killpg(session.pid, signal.SIGKILL)
        session.wait()
        with read_ledger(options.out / "ledger.sqlite") as ledger:
            spool = Spool(options.out / "spool", ledger.id)
        waiting = {arrival.number for _, arrival in spool.left()}
        ours = numbers_in(options.out) | waiting
        was_ours |= ours
        rows.append((moment, len(ours), len(waiting)))
        session = begin(options, log)
    said, _ = sender.communicate()
    while True:
        with read_ledger(options.out / "ledger.sqlite") as ledger:
            (account,) = ledger.series_reports()
        if account.ended and not list((options.out / "spool").glob("*.frame")):
            break
        time.sleep(0.5)
    session.send_signal(signal.SIGINT)
    session.wait()
    lines = (options.out / "verdicts.jsonl").read_text().splitlines()
    listed = [json.loads(line) for line in lines]
    numbers = [row["number"] for row in listed]
    recorded = numbers_in(options.out)
    missed = set(chain.from_iterable(range(a, b + 1) for a, b in account.missed))
    taken = {
        int(number)
        for number, _, taken in (
            line.split(",") for line in (options.out / "truth.csv").read_text().split()[1:]
        )
        if taken == "1"
    }
    judged = [row for row in listed if row["decision"] != "dropped"]
    right = sum(row["label"] == row["truth"]["label"] for row in judged)
    print(said.strip())
    for moment, ours, waiting in rows:
        print(f"killed after {moment:.0f} s: {ours} received, {waiting} of them in the spool")
    print(f"sent by the detector         {options.count}")
    print(f"accepted by the socket       {len(taken)}")
    print(f"received                     {account.received}")
    print(f"recorded                     {len(recorded)}")
    print(f"  of these dropped           {len(listed) - len(judged)}")
    print(f"missing, by number           {len(missed)}")
    print(f"lost after receipt           {len(was_ours - recorded)}")
    print(f"recorded twice               {len(numbers) - len(set(numbers))}")
    print(f"neither recorded nor missing {options.count - len(recorded | missed)}")
    print(f"correct class                {right / max(len(judged), 1):.2%} of {len(judged)}")


if __name__ == "__main__":
    main()
