"""JSON lines: everything about every frame, an object a line; a file that grows by whole pieces."""

import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.live.messages import FrameOutcome, LedgerRow
from deepfreak.storage.files import reason_of, write_all
from deepfreak.storage.locks import opened_alone

_BLOCK = 1 << 16
_MAX_LINE_LENGTH = 1 << 22


class GrowingFile:
    """An open file, locked against a second writer; made if there is none.

    `size` is where the next piece goes. The caller decides what an incomplete end means and calls
    `cut` or `append`. Raises `OutputError` where it cannot be written, it is no plain file, or
    another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        busy = f"another process writes {path}: stop it or choose another name"
        with ExitStack() as held:
            # without O_NONBLOCK a pipe would wait for its reader
            opened = opened_alone(path, busy=busy, flags=os.O_NONBLOCK)
            self._descriptor = held.enter_context(opened)
            about = os.fstat(self._descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise OutputError(
                    f"expected the name of a plain file, found a device or pipe: {path}"
                )
            self.size = about.st_size
            self._held = held.pop_all()

    def append(self, piece: bytes) -> None:
        """Add a piece, which is safe from `kill -9` when this returns.

        Raises `OutputError` where it cannot be written; the file is then as it was.
        """
        self._require_in_place()
        try:
            write_all(self._descriptor, piece, self.size)
        except OSError as error:
            os.ftruncate(self._descriptor, self.size)
            raise OutputError(
                f"cannot write {self.path}: {reason_of(error)}; it was left as it was"
            ) from error
        self.size += len(piece)

    def cut(self, size: int) -> None:
        """Drop what is behind the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, fewer at the end."""
        return os.pread(self._descriptor, max(0, stop - start), start)

    def last_line(self) -> tuple[bytes, bytes]:
        """Return the last whole line, empty if there is none, and what is torn behind it."""
        end, tail = self.size, b""
        while end and tail.count(b"\n") < 2:
            if len(tail) > _MAX_LINE_LENGTH:
                raise OutputError(
                    f"expected {self.path} to be a file of verdicts, found a line of more than "
                    f"{_MAX_LINE_LENGTH >> 20} MiB; choose another name"
                )
            start = max(0, end - _BLOCK)
            tail, end = self.read(start, end) + tail, start
        whole, newline, torn = tail.rpartition(b"\n")
        if not newline:
            return b"", torn
        return whole.rpartition(b"\n")[2], torn

    def close(self) -> None:
        """Let another process write it."""
        self._held.close()
        self._descriptor = -1

    def _require_in_place(self) -> None:
        """Raise `OutputError` where what is written would land in a file without a name."""
        try:
            same = os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise OutputError(
                f"{self.path} was moved or removed while it was written; start again to rebuild it"
            )


_START = b'{"sequence": '  # of each of our lines
_OURS = {"sequence", "series", "number", "decision", "label"}

_strict = json.JSONEncoder(allow_nan=False)
_quoted = json.encoder.encode_basestring_ascii


class JsonLines:
    """An `OutcomeSink` that is a file of JSON lines; one of an earlier run is resumed.

    Each line has: sequence, series, number, decision, label, probabilities {class: p}, p_crystal,
    saturated, received (seconds since 1970), latency_ms (from receipt to decision), ms (of work),
    judged_without (what of the detector's start was not known: "start", "mask", "configuration"),
    error, reasons (why it was decided so), signs (what the evidence shows: peaks, rings, lattice),
    copy {file, index} (where the frame was copied, below the session's directory); and truth where
    it is known. What is unknown is null. Raises `OutputError` where the file holds something else,
    or cannot be written.
    """

    def __init__(self, path: Path, *, classes: tuple[str, ...]) -> None:
        self._template = _template(classes)
        self._file = GrowingFile(path)
        try:
            self._last = self._resume()
        except BaseException:
            self._file.close()
            raise

    def last(self) -> int:
        """Return the sequence number of the last whole line, 0 if there is none."""
        return self._last

    def write(self, rows: Sequence[LedgerRow]) -> None:
        """Add a line for each row; they are safe from `kill -9` when this returns.

        Raises `OutputError` where the rows do not follow on the last line, or cannot be written;
        the file is then as it was.
        """
        if not rows:
            return
        require_next(rows, self._last, self._file.path)
        lines = [_line(row.sequence, row.outcome, self._template) for row in rows]
        self._file.append("".join(lines).encode())
        self._last = rows[-1].sequence

    def close(self) -> None:
        """Take no more."""
        self._file.close()

    def _resume(self) -> int:
        """Cut off a torn line; return the sequence number of the last whole one."""
        line, torn = self._file.last_line()
        sequence = _sequence(line) if line else 0
        length = min(len(torn), len(_START))
        if sequence is None or torn[:length] != _START[:length]:
            raise OutputError(
                f"expected records of an earlier run in {self._file.path}, found something else; "
                "it was left as it is: choose another name"
            )
        if torn:
            self._file.cut(self._file.size - len(torn))
        return sequence


def require_next(rows: Sequence[LedgerRow], last: int, path: Path) -> None:
    """Raise `OutputError` unless `rows` follow row `last`, without a gap.

    An empty output may begin anywhere. Rows of another ledger are noticed here.
    """
    first = rows[0].sequence
    if last and first != last + 1:
        raise OutputError(
            f"expected row {last + 1} for {path}, found row {first}: it belongs to another run; "
            "choose another name, or remove it to have it made again"
        )


def _line(sequence: int, outcome: FrameOutcome, template: str) -> str:
    """Return the line of a row, spelled out since `json.dumps` of a dict takes twice as long."""
    probabilities = outcome.probabilities
    # a %-template takes as many as there are classes, or complains
    known = template % probabilities if probabilities and math.isfinite(sum(probabilities)) else ""
    error = "null" if outcome.error is None else _quoted(outcome.error)
    signs = "null" if outcome.signs is None else _json(outcome.signs.to_json())
    copy = "null" if outcome.copy is None else _json(asdict(outcome.copy))
    truth = "" if outcome.truth is None else f', "truth": {_json(dict(outcome.truth))}'
    return (
        f'{{"sequence": {sequence}, "series": {_quoted(outcome.series)}, '
        f'"number": {outcome.number}, "decision": "{outcome.decision}", '
        f'"label": {"null" if outcome.label is None else _quoted(outcome.label)}, '
        f'"probabilities": {{{known}}}, "p_crystal": {_number(outcome.p_crystal, 6)}, '
        f'"saturated": {"true" if outcome.saturated else "false"}, '
        f'"received": {_number(outcome.received, 6)}, '
        f'"latency_ms": {_number((outcome.decided - outcome.received) * 1e3, 3)}, '
        f'"ms": {_number(outcome.ms, 3)}, "judged_without": {_names(outcome.judged_without)}, '
        f'"error": {error}, "reasons": {_names(outcome.reasons)}, "signs": {signs}, '
        f'"copy": {copy}{truth}}}\n'
    )


def _template(classes: tuple[str, ...]) -> str:
    """Return what makes JSON of as many probabilities, without its braces."""
    return ", ".join(f"{_quoted(name).replace('%', '%%')}: %.6f" for name in classes)


def _names(names: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quoted, names))}]"


def _number(value: float | None, digits: int) -> str:
    """Return a number as JSON has it: null for what it does not have."""
    return "null" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _json(value: object) -> str:
    try:
        return _strict.encode(value)
    except (TypeError, ValueError):  # a sender's truth may be anything
        return _strict.encode(_plain(value))


def _plain(value: object) -> object:
    """Return `value` as JSON can have it: no NaN, no infinity, nothing but its own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inside) for inside in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def _sequence(line: bytes) -> int | None:
    """Return the sequence number in one of our lines, None if it is not ours."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not record.keys() >= _OURS:
        return None
    sequence = record["sequence"]
    return sequence if type(sequence) is int and sequence > 0 else None
