"""CrystFEL's list of frames, as `indexamajig -i` reads it: the frames to keep, or the unsure ones.

A line is a file's name, a space and the frame in it, which begins with `//`::

    /data/run7/image_0042.cbf //       the only frame of a file
    /data/hits/hits-00001.h5 //17      frame 17, from 0, of the stack that the geometry names

A frame of a stream of which no copy is kept has no file: its series stands in the place of one,
which tells people, not CrystFEL, which frame it was.

A copy's line waits until the file is whole, and with it the lines behind it: a program that follows
the list finds every file that it names.

Such a list can hold neither comments nor frames of other decisions, so `NAME.lst.position` beside
it says how far it has got.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.live.messages import Decision, FrameOutcome, LedgerRow
from deepfreak.live.sinks.json_lines import GrowingFile, require_next
from deepfreak.storage.draft import draft_path
from deepfreak.storage.files import reason_of
from deepfreak.storage.manifest import Format

FORMAT = Format("list position", 1)
MAX_LINE_LENGTH = 1022  # bytes: CrystFEL reads that many, and takes the rest for another line

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ONE_FRAME = re.compile(r"\.(cbf|img|mccd|edf|tiff?)(\.gz|\.bz2)?$", re.IGNORECASE)


class CrystFELList:
    """An `OutcomeSink` that lists the frames of one decision; an earlier run's list is resumed.

    A batch is first stated in the position file, which is replaced as a whole, and then added to
    the list. Whatever ends the process between the two, or in the middle of the second, leaves a
    list that lacks the end of what was stated: opening it adds that. So no line is ever taken back,
    which a program that follows the list would not notice. Raises `OutputError` where the list is
    not ours or was changed, or cannot be written.
    """

    def __init__(
        self,
        path: Path,  # in the session's directory, below which copies lie
        *,
        decision: Decision = "keep",  # the one whose frames are listed
        # gives the name to list of a series that was not copied
        name_of: Callable[[str], str] = lambda series: series,
    ) -> None:
        # how many frames were not listed, since their line is longer than CrystFEL can read
        self.skipped = 0
        self._decision, self._name_of = decision, name_of
        self._waiting: list[LedgerRow] = []  # from the first whose copy is not whole on
        self._position = path.with_name(f"{path.name}.position")
        self._file = GrowingFile(path)
        try:
            self._last = self._resume()
        except BaseException:
            self._file.close()
            raise

    def last(self) -> int:
        """Return the sequence number of the last outcome that was considered.

        After a crash it is the last one that the list takes into account: what waited comes again.
        """
        return self._last

    def write(self, rows: Sequence[LedgerRow]) -> None:
        """List the rows of its decision, and those that waited, as far as copies are whole.

        What is listed is safe from `kill -9` when this returns; the rest is in the ledger. Raises
        `OutputError` where the rows do not follow on the last ones, or cannot be written; the list
        is then as it was.
        """
        if not rows:
            return
        require_next(rows, self._last, self._file.path)
        wanted = [row for row in rows if row.outcome.decision == self._decision]
        self._list([*self._waiting, *wanted], until=rows[-1].sequence)
        self._last = rows[-1].sequence

    def close(self) -> None:
        """List what waited for copies that are whole now, and close."""
        try:
            if self._waiting:
                self._list(self._waiting, until=self._last)
        finally:
            self._file.close()

    def _list(self, wanted: Sequence[LedgerRow], *, until: int) -> None:
        """List frames, up to the first whose copy is not whole; `until` is the last row."""
        lines: list[bytes] = []
        listed = too_long = 0
        for row in wanted:
            line = self._line(row.outcome)
            if line is None:
                until = row.sequence - 1
                break
            listed += 1
            if len(line) <= MAX_LINE_LENGTH + 1:
                lines.append(line)
            else:
                too_long += 1
        self._state(until, b"".join(lines))
        if lines:
            self._file.append(b"".join(lines))
        self._waiting = list(wanted[listed:])
        self.skipped += too_long

    def _line(self, outcome: FrameOutcome) -> bytes | None:
        """Return the line of a frame, None as long as its copy is not whole."""
        if outcome.copy is not None:
            file = self._file.path.absolute().parent / outcome.copy.file
            is_whole = not draft_path(file).exists()
            return _spelled(f"{file} //{outcome.copy.index}") if is_whole else None
        if outcome.number == 0 and _ONE_FRAME.search(outcome.series):
            return _spelled(f"{self._name_of(outcome.series)} //")
        return _spelled(f"{self._name_of(outcome.series)} //{outcome.number}")

    def _state(self, sequence: int, lines: bytes) -> None:
        """Write to the position file that the list is to get these lines."""
        text = lines.decode("utf-8", "surrogateescape")
        stated = FORMAT.manifest(sequence=sequence, bytes=self._file.size, lines=text)
        partial = self._position.with_name(f".{self._position.name}.partial")
        try:
            partial.write_text(json.dumps(stated), encoding="ascii")
            partial.replace(self._position)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OutputError(
                f"cannot write {self._position}: {reason_of(error)}; the list was left as it was"
            ) from error

    def _resume(self) -> int:
        """Add what a killed process had announced and not written; return how far the list is."""
        stated = _read_position(self._position)
        if stated is None and self._file.size:
            raise self._not_ours("its .position file is missing")
        if stated is None or (stated[1] and not self._file.size):
            # new, or removed to have it made again
            self._state(0, b"")
            return 0
        sequence, begin, lines = stated
        if self._file.size < begin:
            raise self._not_ours("it is shorter than it was")
        if self._file.size > begin + len(lines):
            raise self._not_ours("it is longer than it was")
        written = self._file.read(begin, self._file.size)
        if not lines.startswith(written):
            raise self._not_ours("its end was changed")
        self._file.append(lines[len(written) :])
        return sequence

    def _not_ours(self, why: str) -> OutputError:
        return OutputError(
            f"expected a list of an earlier run in {self._file.path}, found that {why}; it was "
            "left as it is: choose another name, or remove it to have it made again"
        )


def _spelled(text: str) -> bytes:
    """Return a line of `text`; what would end it or move a terminal's cursor, as %XX."""
    safe = _CONTROL.sub(lambda found: f"%{ord(found[0]):02X}", text)
    try:
        # names of files that are no UTF-8 go back to the bytes they are
        return safe.encode("utf-8", "surrogateescape") + b"\n"
    except UnicodeEncodeError:
        return safe.encode("utf-8", "backslashreplace") + b"\n"


def _read_position(path: Path) -> tuple[int, int, bytes] | None:
    """Return sequence number, length before the last batch, and that batch; None without."""
    advice = "remove it and its list to have both made again"
    try:
        stated = json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        stated = None
    if isinstance(stated, dict) and stated.get("kind") == FORMAT.name:
        FORMAT.check(stated, path, error=OutputError)
        match stated:
            case {"sequence": int(sequence), "bytes": int(size), "lines": str(lines)} if (
                sequence >= 0 and size >= 0
            ):
                return sequence, size, lines.encode("utf-8", "surrogateescape")
    raise OutputError(f"{path}: expected a list position, found something else; {advice}")
