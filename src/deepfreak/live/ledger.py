"""The ledger: one verdict for every received frame, in one SQLite file.

A restart resumes from it. A frame is its series and its number; the table does not take it
twice. Write-ahead logging makes what was committed survive `kill -9`; a power failure may cost the
last moment, whose frames are in the spool on the same disk, if they were written.
"""

import json
import sqlite3
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfreak.errors import InputError, OutputError
from deepfreak.live.messages import DECISIONS, FrameOutcome, HitCopy, LedgerRow, SeriesBegan
from deepfreak.live.receive.frame_accounting import NumberSet, SeriesReport, SeriesState
from deepfreak.screening.verdict import EvidenceSummary
from deepfreak.storage.locks import lacks_record_locks, opened_alone
from deepfreak.storage.manifest import Format, difference

FORMAT = Format("ledger", 4)
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, context BLOB NOT NULL,
    expected INTEGER, ended INTEGER NOT NULL DEFAULT 0, metadata TEXT NOT NULL,
    lacks TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS frames (
    sequence INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series,
    number INTEGER NOT NULL, decision INTEGER NOT NULL, label TEXT,
    probabilities BLOB, p_crystal REAL,
    saturated INTEGER NOT NULL, level REAL, received REAL NOT NULL, sent REAL,
    decided REAL NOT NULL, ms REAL NOT NULL, error TEXT, truth TEXT, judged_without TEXT,
    reasons TEXT, signs TEXT, copy_file TEXT, copy_index INTEGER,
    UNIQUE (series, number));
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO about VALUES ('id', lower(hex(randomblob(8))));
"""
_PLAIN = (  # as they are in `FrameOutcome`
    *("number", "label", "p_crystal", "saturated", "level", "received", "sent", "decided", "ms"),
    "error",
)
_OTHERS = "sequence, series, decision, probabilities, copy_file, copy_index, truth"
_COLUMNS = f"{_OTHERS}, judged_without, reasons, signs, {', '.join(_PLAIN)}"
_ABOUT = "SELECT value FROM about WHERE name = 'about'"
_ROWS_AT_ONCE = 1000
_REASONS = {
    "SQLITE_BUSY": "another program has locked it",
    "SQLITE_LOCKED": "another program has locked it",
    "SQLITE_FULL": "no space left on the disk",
    "SQLITE_READONLY": "it is read-only, or was replaced",
    "SQLITE_CORRUPT": "it is damaged",
    "SQLITE_NOTADB": "it is damaged",
    "SQLITE_IOERR": "the disk reports an error",
    "SQLITE_CANTOPEN": "it, or a file beside it, cannot be opened",
}
# SQLite's integers; a frame number beyond is no number.
MAX_NUMBER = 2**62


class Ledger:
    """An open ledger; `open_ledger` gives one. `about` is what the run continues with."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        about: Mapping[str, Any],
        *,
        begun_with: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.about = path, about
        # the same of the run before, if it was opened to write and that was another
        self.begun_with = about if begun_with is None else begun_with
        self._connection = connection
        # the receiver begins series while verdicts are written
        self._turn = threading.RLock()
        self._ids = {name: key for key, name in self._rows("SELECT id, name FROM series")}
        self._names = {key: name for name, key in self._ids.items()}
        # of this ledger alone: 16 hexadecimal digits
        self.id = str(self._rows("SELECT value FROM about WHERE name = 'id'")[0][0])
        self.last = int(self._rows("SELECT COALESCE(MAX(sequence), 0) FROM frames")[0][0])

    def begin(self, began: SeriesBegan) -> None:
        """Add a series, or open a known one again; `expected` may be known now.

        A detector's start replaces what was known of the series before. Raises `OutputError` where
        it cannot be written, as on a full disk, or while another program has locked it.
        """
        metadata, lacks = json.dumps(dict(began.metadata)), json.dumps(began.lacks)
        start = ("context", "metadata", "lacks") if began.brings_start else ()
        replaced = "".join(f", {name} = excluded.{name}" for name in start)
        with self._writing() as write:
            write.execute(
                "INSERT INTO series (name, kind, context, expected, metadata, lacks) "  # noqa: S608
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                f"expected = COALESCE(excluded.expected, expected), ended = 0{replaced}",
                (began.series, began.kind, began.context, began.expected, metadata, lacks),
            )
        if began.series not in self._ids:
            key = self._rows("SELECT id FROM series WHERE name = ?", began.series)[0][0]
            self._ids[began.series], self._names[key] = key, began.series

    def end(self, series: str, expected: int | None) -> None:
        """Note that no more frames of a series will come."""
        with self._writing() as write:
            write.execute(
                "UPDATE series SET ended = 1, expected = COALESCE(?, expected) WHERE name = ?",
                (expected, series),
            )

    def __contains__(self, series: str) -> bool:
        return series in self._ids

    def began(self, series: str) -> SeriesBegan | None:
        """Return what a series began with, None if it has not."""
        if series not in self._ids:
            return None
        kind, context, expected, metadata, lacks = self._rows(
            "SELECT kind, context, expected, metadata, lacks FROM series WHERE name = ?", series
        )[0]
        return SeriesBegan(
            series=series,
            kind=kind,
            context=context,
            expected=expected,
            metadata=json.loads(metadata),
            lacks=tuple(json.loads(lacks)),
        )

    def seen(self, series: str) -> NumberSet:
        """Return the numbers of a series that have a row."""
        if series not in self._ids:
            return NumberSet()
        # in a run of neighbours, number less rank is the same
        intervals = self._rows(
            "SELECT MIN(number), MAX(number) FROM (SELECT number, number - ROW_NUMBER() OVER "
            "(ORDER BY number) AS run FROM frames WHERE series = ?) GROUP BY run ORDER BY 1",
            self._ids[series],
        )
        return NumberSet.of_intervals(intervals)

    def lines(self) -> Iterator[SeriesState]:
        """Yield the state of each series, oldest first."""
        series = self._rows(
            "SELECT id, name, kind, expected, ended, lacks, json_extract(metadata, '$.series'), "
            "COALESCE(lacking, 0), latest FROM series LEFT JOIN (SELECT series AS key, "
            "COUNT(judged_without) AS lacking, MAX(received) AS latest FROM frames GROUP BY series)"
            " ON key = id ORDER BY id"
        )
        # as `seen`, of all at once: there may be a series for each of many files
        intervals: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for key, first, last in self._rows(
            "SELECT series, MIN(number), MAX(number) FROM (SELECT series, number, number - "
            "ROW_NUMBER() OVER (PARTITION BY series ORDER BY number) AS run FROM frames) "
            "GROUP BY series, run ORDER BY series, 2"
        ):
            intervals[key].append((first, last))
        for key, name, kind, expected, ended, lacks, detector_number, lacking, latest in series:
            yield SeriesState(
                series=name,
                kind=kind,
                expected=expected,
                ended=bool(ended),
                lacks=tuple(json.loads(lacks)),
                judged_without=lacking,
                last_received=latest,
                detector_number=detector_number,
                seen=NumberSet.of_intervals(intervals.pop(key, ())),
            )

    def series_reports(self) -> tuple[SeriesReport, ...]:
        """Return what has been recorded of each series, and what is missing."""
        return tuple(line.account() for line in self.lines())

    def record(
        self, outcomes: Sequence[FrameOutcome], counts: Mapping[str, int] | None = None
    ) -> list[LedgerRow]:
        """Record outcomes, all of them or none, and set counts by name.

        Raises `OutputError` where it cannot be written, as on a full disk; nothing was recorded.
        """
        rows = [
            LedgerRow(sequence=self.last + 1 + place, outcome=outcome)
            for place, outcome in enumerate(outcomes)
        ]
        with self._writing() as write:
            places = ", ".join("?" * 20)
            insert = f"INSERT INTO frames ({_COLUMNS}) VALUES ({places})"  # noqa: S608
            write.executemany(insert, map(self._values, rows))
            write.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?)", (counts or {}).items())
        self.last += len(rows)
        return rows

    def count(self, name: str) -> int:
        """Return a count that `record` has set, 0 if it has not."""
        found = self._rows("SELECT value FROM counts WHERE name = ?", name)
        return int(found[0][0]) if found else 0

    def judged_without(self) -> int:
        """Return how many frames were classified without a detector's start or mask."""
        statement = "SELECT COUNT(*) FROM frames WHERE judged_without IS NOT NULL"
        return int(self._rows(statement)[0][0])

    def after(self, sequence: int) -> Iterator[list[LedgerRow]]:
        """Yield what was recorded after `sequence`, in order, some rows at a time."""
        while rows := self._rows(
            f"SELECT {_COLUMNS} FROM frames WHERE sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608
            sequence,
            _ROWS_AT_ONCE,
        ):
            found = [self._recorded(row) for row in rows]
            sequence = found[-1].sequence
            yield found

    def last_copy(self, directory: str) -> HitCopy | None:
        """Return the last copy below `directory`, a name; None if there is none."""
        found = self._rows(
            "SELECT copy_file, copy_index FROM frames WHERE copy_file >= ? AND copy_file < ? "
            "ORDER BY sequence DESC LIMIT 1",
            *(f"{directory}/", f"{directory}0"),  # 0 follows /
        )
        return HitCopy(*found[0]) if found else None

    def decisions(self) -> dict[str, int]:
        """Return how many frames each decision has."""
        found = dict(self._rows("SELECT decision, COUNT(*) FROM frames GROUP BY decision"))
        return {name: found.get(index, 0) for index, name in enumerate(DECISIONS)}

    def _values(self, row: LedgerRow) -> tuple[Any, ...]:
        outcome, copy = row.outcome, row.outcome.copy
        return (
            row.sequence,
            self._ids[outcome.series],
            DECISIONS.index(outcome.decision),
            struct.pack(f"<{len(outcome.probabilities)}d", *outcome.probabilities),
            *((None, None) if copy is None else (copy.file, copy.index)),
            None if outcome.truth is None else json.dumps(dict(outcome.truth)),
            json.dumps(outcome.judged_without) if outcome.judged_without else None,
            json.dumps(outcome.reasons) if outcome.reasons else None,
            None if outcome.signs is None else json.dumps(outcome.signs.to_json()),
            *(getattr(outcome, name) for name in _PLAIN),
        )

    def _recorded(self, row: tuple[Any, ...]) -> LedgerRow:
        sequence, series, decision, packed, file, index, truth, judged_without = row[:8]
        reasons, signs, *plain = row[8:]
        fields = dict(zip(_PLAIN, plain, strict=True))
        outcome = FrameOutcome(
            series=self._names[series],
            decision=DECISIONS[decision],
            probabilities=struct.unpack(f"<{len(packed) // 8}d", packed),
            truth=None if truth is None else json.loads(truth),
            judged_without=tuple(json.loads(judged_without or "[]")),
            reasons=tuple(json.loads(reasons or "[]")),
            signs=None if signs is None else EvidenceSummary(**json.loads(signs)),
            copy=None if file is None else HitCopy(file, index),
            **fields | {"saturated": bool(fields["saturated"])},
        )
        return LedgerRow(sequence=sequence, outcome=outcome)

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._turn:
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, in one transaction."""
        try:
            with self._turn, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except sqlite3.IntegrityError:  # a second verdict on a frame: our fault, not the disk's
            raise
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"cannot write the ledger {self.path}: {_reason(error, self.path)}"
            ) from error


@contextmanager
def open_ledger(
    path: Path,
    about: Mapping[str, Any],
    *,
    # whether a ledger that was begun with its first argument may be resumed with its second,
    # `about`
    may_follow: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] = lambda _found, _about: (
        False
    ),
) -> Iterator[Ledger]:
    """Give the ledger at `path`, new or to resume, which no other program may write meanwhile.

    Raises `InputError` where the file is not a ledger, or was begun with something else than
    `about`: verdicts of two models do not belong into one record; `OutputError` where it is in use,
    or cannot be written.
    """
    wanted = json.dumps(dict(about), sort_keys=True)
    busy = f"another run writes {path}: stop it or give another --out"
    lock = path.with_name(f"{path.name}.lock")
    with opened_alone(lock, busy=busy, called=f"the ledger {path}"):
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise OutputError(f"cannot open the ledger {path}: {_reason(error, path)}") from error
        try:
            with _as_input_error(path):
                found = _prepare(connection, path, wanted)
                begun_with = dict(json.loads(found))
            if found != wanted:
                if not may_follow(begun_with, about):
                    raise InputError(
                        f"{path} is of another run ({difference(begun_with, about)}): give another "
                        "--out, or the same settings"
                    )
                try:
                    connection.execute("UPDATE about SET value = ? WHERE name = 'about'", (wanted,))
                except sqlite3.DatabaseError as error:
                    reason = _reason(error, path)
                    raise OutputError(f"cannot write the ledger {path}: {reason}") from error
            yield Ledger(connection, path, about, begun_with=begun_with)
        finally:
            connection.close()


@contextmanager
def read_ledger(path: Path) -> Iterator[Ledger]:
    """Give a ledger to read, which another program may be writing."""
    if not path.is_file():
        raise InputError(f"expected a ledger at {path}, found none: is this a session's directory?")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        with _as_input_error(path):
            connection.execute("PRAGMA trusted_schema = OFF")
            _require_version(connection, path)
            about = json.loads(connection.execute(_ABOUT).fetchone()[0])
            yield Ledger(connection, path, about)
    finally:
        connection.close()


@contextmanager
def _as_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise InputError(f"expected a ledger, found a damaged or foreign file: {path}") from error


def _prepare(connection: sqlite3.Connection, path: Path, wanted: str) -> str:
    """Make what is missing, and return what the ledger was begun with."""
    try:
        if connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            _require_version(connection, path)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(
            f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT.version}; COMMIT;"
        )
        with connection:
            connection.execute("INSERT OR IGNORE INTO about VALUES ('about', ?)", (wanted,))
        return str(connection.execute(_ABOUT).fetchone()[0])
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise OutputError(f"cannot write the ledger {path}: {_reason(error, path)}") from error
        raise InputError(f"expected a ledger, found a damaged or foreign file: {path}") from error


def _require_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `InputError` where a database is not a ledger of this version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not version:
        raise InputError(f"expected a ledger, found a foreign file: {path}; give another --out")
    FORMAT.check({**FORMAT.manifest(), "format": version}, path)


def _reason(error: sqlite3.Error, path: Path) -> str:
    """Return why SQLite could not write, in words that tell what to do."""
    if lacks_record_locks(path.parent):
        return "its disk has no locks, which SQLite needs: give an --out on another disk"
    name = getattr(error, "sqlite_errorname", "")
    for beginning, reason in _REASONS.items():
        if name.startswith(beginning):
            return reason
    return str(error)
