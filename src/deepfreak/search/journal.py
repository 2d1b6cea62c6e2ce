"""What a search leaves on disk while it runs: a journal that survives `kill -9`.

Lines of JSON that are only ever appended, in the format of Optuna's journal, which its dashboard
shows (`optuna-dashboard DIR/journal.log`). A trial is one line when it is chosen, with all of its
settings, and two when it ends.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfreak.errors import OutputError
from deepfreak.search.samplers.tpe import frozen, new_study
from deepfreak.search.table8 import TABLE_8
from deepfreak.search.trial import Outcome, Trial
from deepfreak.storage.files import reason_of
from deepfreak.storage.locks import opened_alone

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"
STUDY = "classical"
_PURPOSE, _OUTCOME, _SESSION = "purpose", "outcome", "session_"
_TAIL = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of the program: when it began, and its seconds so far.

    Attributes
    ----------
    trial_seconds
        What bounded each of its trials.
    wall_s, extraction_s
        In all, and of them those in which features were computed for all trials.
    """

    started: str
    workers: int
    trial_seconds: float
    wall_s: float = 0.0
    extraction_s: float = 0.0


class Journal:
    """An open and locked journal; `open_journal` gives one."""

    def __init__(self, study: "Study") -> None:
        self._study = study
        self._sessions = [
            Session(**values)
            for name, values in sorted(study.user_attrs.items())
            if name.startswith(_SESSION)
        ]
        self._earlier = len(self._sessions)
        self._trials = [_trial(found) for found in study.get_trials(deepcopy=False)]

    @property
    def trials(self) -> list[Trial]:
        """All trials that were chosen, by number."""
        return list(self._trials)

    @property
    def sessions(self) -> list[Session]:
        """All runs of the program, this one last once it was written."""
        return list(self._sessions)

    def add(self, picks: Mapping[str, int]) -> Trial:
        """Write down that the next trial is to try `picks`, and return it."""
        trial = Trial(number=len(self._trials), picks=dict(picks))
        self._study.add_trial(frozen(trial))
        self._trials.append(trial)
        return trial

    def finish(self, number: int, outcome: Outcome) -> Trial:
        """Write down how a trial ended, and return it."""
        from optuna.trial import Trial as OptunaTrial
        from optuna.trial import TrialState

        stored = self._study.get_trials(deepcopy=False)[number]
        # First what was found, then that it has ended: if only the first gets written, it is
        # tried again.
        OptunaTrial(self._study, stored._trial_id).set_user_attr(  # noqa: SLF001 -- no other way
            _OUTCOME, asdict(outcome)
        )
        if outcome.state == "done":
            self._study.tell(number, outcome.accuracy.value)
        else:
            self._study.tell(number, state=TrialState.PRUNED)
        self._trials[number] = replace(self._trials[number], outcome=outcome)
        return self._trials[number]

    def note(self, session: Session) -> None:
        """Write down how long this run has taken so far."""
        self._study.set_user_attr(f"{_SESSION}{self._earlier:04d}", asdict(session))
        self._sessions[self._earlier :] = [session]

    def importance(self) -> dict[str, float]:
        """Return how much each hyperparameter mattered for being among the best; all add up to 1.

        PED-ANOVA (Watanabe et al. 2023) in its conditional form; {} with fewer than two accuracies.
        """
        from optuna.importance import get_param_importances

        if sum(trial.done for trial in self._trials) < 2:
            return {}
        with warnings.catch_warnings():
            # A short search asks for some of them once; the page says that it is about tendencies.
            warnings.filterwarnings("ignore", message="Some regimes for parameter")
            return dict(get_param_importances(self._study))


def _trial(found: "FrozenTrial") -> Trial:
    choices = {choice.name: choice for choice in TABLE_8}
    ended = found.state.is_finished() and _OUTCOME in found.user_attrs
    return Trial(
        number=found.number,
        picks={name: choices[name].pick(value) for name, value in found.params.items()},
        outcome=Outcome(**found.user_attrs[_OUTCOME]) if ended else None,
    )


@contextmanager
def open_journal(
    folder: Path, purpose: Mapping[str, Any], *, overwrite: bool = False
) -> Iterator[Journal]:
    """Give the journal in `folder`, new or with what an earlier run for the same `purpose` left.

    Parameters
    ----------
    purpose
        All that decides which trials there are, as JSON values.
    overwrite
        Whether to begin anew.

    Raises
    ------
    OutputError
        If another process works on it, it has another purpose, or it is damaged.
    """
    path = folder / JOURNAL
    busy = f"another process is searching in {folder}; wait for it or choose another folder"
    with opened_alone(path, busy=busy) as descriptor:
        try:
            if overwrite:
                os.ftruncate(descriptor, 0)
            _cut_torn_line(descriptor)
            # Whoever held Optuna's own lock was killed: ours is held by nobody else.
            Path(f"{path}.lock").unlink(missing_ok=True)
            yield Journal(_study(path, purpose))
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {reason_of(error)}; the trials that were written are kept: "
                "give the same command again"
            ) from error


def _study(path: Path, purpose: Mapping[str, Any]) -> "Study":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        study = new_study(storage=JournalStorage(JournalFileBackend(str(path))), name=STUDY)
    except OSError:
        raise
    except Exception as error:  # Optuna trusts its lines and raises whatever it stumbles over
        line = _first_bad_line(path)
        if line > 1:
            raise OutputError(
                f"{path} is damaged at line {line} ({error}); cut the file off before that line to "
                "go on from there"
            ) from error
        raise OutputError(
            f"{path} is damaged or no journal of a search ({error}): choose another folder or add "
            "--overwrite"
        ) from error
    wanted = json.loads(json.dumps(purpose))
    found = study.user_attrs.get(_PURPOSE)
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_PURPOSE, wanted)
    elif found != wanted:
        raise OutputError(
            f"{path} is of another search ({_difference(found, wanted)}): choose another folder or "
            "add --overwrite"
        )
    return study


def _first_bad_line(path: Path) -> int:
    """Return the number, from 1, of the first line that Optuna cannot use; 0 if there is none.

    What it cannot read is found by reading, what does not follow from the lines before by halving.
    """
    records, unread = _records(path)
    if _is_usable(records):
        return unread
    good, bad = 0, len(records)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _is_usable(records[:middle]) else (good, middle)
    return bad


def _records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the records up to a line that is none, and that line's number, 0 if all are."""
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            return records, number
        records.append(record)
    return records, 0


def _is_usable(records: list[dict[str, Any]]) -> bool:
    """Return whether Optuna can make a storage of these records."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend

    class Read(BaseJournalBackend):  # type: ignore[misc]
        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            return records[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            records.extend(logs)

    try:
        JournalStorage(Read())
    except Exception:  # noqa: BLE001 -- it trusts its lines and raises whatever it stumbles over
        return False
    return True


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what follows the last line's end: half a line of a process that was killed."""
    end = os.fstat(descriptor).st_size
    while end:
        first = max(0, end - _TAIL)
        whole = os.pread(descriptor, end - first, first).rfind(b"\n") + 1
        end = first + whole
        if whole:
            break
    os.ftruncate(descriptor, end)


def _difference(found: object, wanted: Mapping[str, Any]) -> str:
    """Return in a few words what tells two purposes apart."""
    if not isinstance(found, dict):
        return "it does not say of which"
    names = [name for name in wanted if found.get(name) != wanted[name]]
    for name in names:
        if not isinstance(wanted[name], dict | list):
            return f"its {name} is {found.get(name)}, not {wanted[name]}"
    return f"its {names[0] if names else 'kind'} differs"
