"""Which frame lies where: `hits.jsonl` beside the files of hits.

A line for each frame of each whole file: file, index, of (how many frames that file has), series,
number.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.live.sinks.growing_file import GrowingFile

NAME = "hits.jsonl"

_START = b'{"file": '  # of each of our lines
_STEP = 1 << 24  # more than the frames of any file


class HitIndex:
    """The index of a folder, locked against a second writer, and what it says, in memory.

    Raises
    ------
    OutputError
        There is something else of its name, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._names: list[str] = []
        self._ids: dict[str, int] = {}
        # by series and number; one whole number stands for file and index, as there may be millions
        self._places: dict[str, dict[int, int]] = {}
        self._file = GrowingFile(folder / NAME)
        try:
            self.files = self._read()
        except BaseException:
            self._file.close()
            raise

    def place(self, series: str, number: int) -> tuple[Path, int] | None:
        """Return the file of a frame and its index there, None if it was not kept."""
        place = self._places.get(series, {}).get(number)
        if place is None:
            return None
        file, index = divmod(place, _STEP)
        return self._folder / self._names[file], index

    def remember(self, file: str, index: int, series: str, number: int) -> None:
        """Know of a frame whose file is not whole yet, or is in the index already."""
        if file not in self._ids:
            self._ids[file] = len(self._names)
            self._names.append(file)
        self._places.setdefault(series, {})[number] = self._ids[file] * _STEP + index

    def add(self, file: str, frames: Iterable[tuple[str, int]]) -> None:
        """Add all frames of a whole file, by series and number, in their order.

        Raises
        ------
        OutputError
            They cannot be written; the index is then as it was.
        """
        if file in self.files:
            return
        known = list(frames)
        lines = []
        for index, (series, number) in enumerate(known):
            line = {"file": file, "index": index, "of": len(known)}
            lines.append(json.dumps(line | {"series": series, "number": number}) + "\n")
            self.remember(file, index, series, number)
        self._file.append("".join(lines).encode())
        self.files.add(file)

    def close(self) -> None:
        """Let another process write it."""
        self._file.close()

    def _read(self) -> set[str]:
        """Return the files of the index, and cut off the last one if some of its lines are torn."""
        whole, newline, torn = self._file.read(0, self._file.size).rpartition(b"\n")
        length = min(len(torn), len(_START))
        if torn[:length] != _START[:length]:
            raise _not_ours(self._file.path)
        files: set[str] = set()
        begin, last, missing = 0, "", 0
        place = 0
        for line in whole.split(b"\n") if newline else []:
            file, index, count, series, number = _parsed(line, self._file.path)
            if file != last:
                begin, last, missing = place, file, count
                files.add(file)
            missing -= 1
            place += len(line) + 1
            self.remember(file, index, series, number)
        if missing:
            files.discard(last)
            place = begin
        if place < self._file.size:
            self._file.cut(place)
        return files


def _parsed(line: bytes, path: Path) -> tuple[str, int, int, str, int]:
    """Return file, index, frames in that file, series and number."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    match record:
        case {
            "file": str(file),
            "index": int(index),
            "of": int(count),
            "series": str(series),
            "number": int(number),
        } if 0 <= index < count < _STEP and "/" not in file:
            return file, index, count, series, number
    raise _not_ours(path)


def _not_ours(path: Path) -> OutputError:
    return OutputError(
        f"expected an index of hits in {path}, found something else; it was left as it is: choose "
        "another folder, or remove it to have it made again"
    )
