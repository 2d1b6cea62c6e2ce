"""The journal of a search: what survives `kill -9`.

A line of JSON that says what is searched for and how, then one line an evaluation, written and
synced when it ends. It is only ever appended to, so that whatever ends a run leaves whole lines and
perhaps a torn one behind, which is cut off when the journal is opened again.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfreak.errors import InputError, OutputError
from deepfreak.storage.files import reason_of, versions
from deepfreak.storage.locks import opened_alone

KIND = "deepfreak BOHB journal 1"


class Journal:
    """An open and locked journal; `open_journal` gives one."""

    def __init__(self, path: Path, descriptor: int, records: list[dict[str, Any]]) -> None:
        self.path = path
        self.records = records
        self._descriptor = descriptor

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record and wait until it is on the disk.

        Raises
        ------
        OutputError
            If it cannot be written; the journal is then as it was.
        """
        line = json.dumps(record).encode() + b"\n"
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, end)
            raise OutputError(
                f"cannot write {self.path}: {reason_of(error)}; what was found before is kept, the "
                "same call resumes"
            ) from error


@contextmanager
def open_journal(path: str | Path, search: Mapping[str, Any]) -> Iterator[Journal]:
    """Give the journal at `path`: new, or with what an earlier run of the same `search` left.

    Raises
    ------
    InputError
        If the file is something else, damaged, or the journal of another search.
    OutputError
        If another process has it open, or it cannot be written.
    """
    path = Path(path)
    search = json.loads(json.dumps(search))
    busy = f"another process is writing {path}; wait for it or choose another name"
    with opened_alone(path, busy=busy, flags=os.O_APPEND) as descriptor:
        header, records, end = _read(path)
        if header is not None and header["search"] != search:
            raise InputError(
                f"{path} is the journal of another search ({_difference(header['search'], search)}"
                "); choose another name"
            )
        os.ftruncate(descriptor, end)
        journal = Journal(path, descriptor, records)
        if header is None:
            journal.append({"kind": KIND, "search": search, "versions": versions("numpy")})
        yield journal


def _read(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """Return the header, None if it was never finished, the records, and where they end."""
    *lines, torn = path.read_bytes().split(b"\n")
    if not lines:
        if torn and not torn.startswith(b'{"kind": "deepfreak'[: len(torn)]):
            raise InputError(f"{path} is no journal of a search; choose another name")
        return None, [], 0
    header = _table(lines[0])
    if header is None or header.get("kind") != KIND:
        raise InputError(f"{path} is no journal of this kind of search; choose another name")
    records = []
    end = len(lines[0]) + 1
    for number, line in enumerate(lines[1:], start=2):
        record = _table(line)
        if record is None:
            if number < len(lines):
                raise InputError(
                    f"{path} is damaged at line {number}: expected a record, found "
                    f"{line[:40]!r}; cut the file off before that line to go on from there"
                )
            break  # the last one: torn while the power failed
        records.append(record)
        end += len(line) + 1
    return header, records, end


def _table(line: bytes) -> dict[str, Any] | None:
    try:
        table = json.loads(line)
    except ValueError:
        return None
    return table if isinstance(table, dict) else None


def _difference(found: Mapping[str, Any], search: Mapping[str, Any]) -> str:
    """Return in a few words what tells two searches apart."""
    name = next(name for name in {**search, **found} if found.get(name) != search.get(name))
    there, here = found.get(name), search.get(name)
    if isinstance(there, dict) or isinstance(here, dict):
        return f"its {name} differs"
    return f"its {name} is {there}, not {here}"
