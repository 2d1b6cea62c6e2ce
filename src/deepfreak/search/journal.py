"""The journal of a search: an append log with every trial that has ended.

Its manifest says what is searched and how. Records are JSON: `trial`, with the number of earlier
outcomes that its proposal knew, or `session`, notes of a run of the program.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfreak.search.trial import Trial
from deepfreak.storage.locks import opened_alone
from deepfreak.storage.log import AppendLog, open_log, read_log
from deepfreak.storage.manifest import Format

FORMAT = Format("search journal", 2)


class Journal:
    """An open journal; `open_journal` gives one."""

    def __init__(self, log: AppendLog) -> None:
        self._log = log
        # that have ended, by number, each with the number of outcomes its proposal knew
        self.trials: dict[int, tuple[Trial, int]] = {}
        # the last record of each run of the program
        self.sessions: list[dict[str, Any]] = []
        for record in map(json.loads, log.records()):
            if "trial" in record:
                trial = Trial.from_json(record["trial"])
                self.trials[trial.number] = trial, record["known"]
            else:
                self.sessions[record["run"] :] = [record["session"]]
        self._earlier_runs = len(self.sessions)

    def add(self, trial: Trial, known: int) -> None:
        """Write down a trial that has ended, and wait until it is on the disk."""
        self.trials[trial.number] = trial, known
        self._append({"trial": trial.to_json(), "known": known})

    def note(self, session: Mapping[str, Any]) -> None:
        """Replace the notes of this run of the program."""
        self.sessions[self._earlier_runs :] = [dict(session)]
        self._append({"session": session, "run": self._earlier_runs})

    def _append(self, record: Mapping[str, Any]) -> None:
        self._log.append(json.dumps(record, allow_nan=False).encode())


@contextmanager
def open_journal(
    path: str | Path,
    search: Mapping[str, Any],
    *,
    overwrite: bool = False,
    advice: str = "choose another name",
) -> Iterator[Journal]:
    """Give the journal at `path`: new, or with the trials of earlier runs of the same `search`.

    `search` is all that decides which trials there are, as JSON values; with `overwrite` it begins
    again. An `OutputError` says that the journal is in use, damaged, of another search, format or
    version, or that it cannot be written, and gives `advice`.
    """
    busy = f"another process is writing {path}: wait for it or choose another name"
    if overwrite:  # whatever it is, damaged or of another kind
        with opened_alone(Path(path), busy=busy) as descriptor:
            os.ftruncate(descriptor, 0)
    left = "earlier trials are kept: the same command resumes"
    with open_log(Path(path), search, form=FORMAT, busy=busy, advice=advice, left=left) as log:
        yield Journal(log)


def read_trials(path: str | Path) -> list[Trial]:
    """Return the trials of a journal that have ended, by number, even while it is being written.

    `InputError` if there is none, or it is of another format or version.
    """
    with read_log(Path(path), form=FORMAT) as log:
        records = map(json.loads, log.records())
        trials = [Trial.from_json(record["trial"]) for record in records if "trial" in record]
    return sorted(trials, key=lambda trial: trial.number)
