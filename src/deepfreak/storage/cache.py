"""Keyed caches: results that can be recomputed, in files named by the hash of their inputs.

Each file ends with a SHA-256 of its key and content. A damaged file, or one under another key's
name, counts as missing; a failed write costs only time. Processes may share a directory: files are
written atomically, and all processes would write the same.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.storage.files import written_whole

_DIGEST_BYTES = hashlib.sha256().digest_size
_DAY_S = 86_400.0


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the hash of settings, JSON values, as 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class KeyedCache:
    """Files in `folder`, by keys that are valid file names, or paths below it.

    The directory is created when something is first stored; with None nothing is. `suffix` ends the
    files' names. Files unused for more than `max_days_unused` are removed, once per process, when
    another is stored.
    """

    folder: Path | None
    suffix: str
    max_days_unused: float | None = None

    def load(self, key: str) -> memoryview | None:
        """Return what was stored for `key`, None if nothing intact is there."""
        if self.folder is None:
            return None
        path = self._path(self.folder, key)
        try:
            content = memoryview(path.read_bytes())
        except OSError:
            return None
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if _digest(key, body) != digest:
            return None
        if self.max_days_unused is not None:
            with suppress(OSError):  # the file's time is that of its last use, to a day
                if time.time() - path.stat().st_mtime > _DAY_S:
                    os.utime(path)
        return body

    def store(self, key: str, content: bytes | memoryview) -> None:
        """Store `content` if the directory can be written."""
        if self.folder is None:
            return
        with suppress(OSError), written_whole(self._path(self.folder, key)) as file:
            file.write(content)
            file.write(_digest(key, content))
        if self.max_days_unused is not None:
            _remove_unused(self.folder, self.suffix, self.max_days_unused)

    def load_arrays(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return what `store_arrays` stored for `key`, None if nothing intact is there."""
        content = self.load(key)
        if content is None:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)

    def store_arrays(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays by their names, as an .npz file."""
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type] # numpy's stub: allow_pickle
        self.store(key, content.getbuffer())

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{key}{self.suffix}"


def _digest(key: str, content: bytes | memoryview) -> bytes:
    found = hashlib.sha256(f"{key}\n".encode())
    found.update(content)
    return found.digest()


@cache
def _remove_unused(folder: Path, suffix: str, max_days: float) -> None:
    """Remove unused files, also incomplete ones of killed processes."""
    with suppress(OSError):
        for path in folder.glob(f"*{suffix}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > max_days * _DAY_S:
                    path.unlink()
