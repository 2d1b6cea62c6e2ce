"""Frames of files that `watch` has announced, read in a worker."""

import os
import threading
import time
import weakref
from contextlib import ExitStack
from dataclasses import replace

from deepfreak.errors import DeepFreakError, FrameError, ReadingStoppedError
from deepfreak.formats.files import is_hdf5_name, open_frames
from deepfreak.formats.frame import Frame, FrameFile, OpenFile
from deepfreak.live.receive.folder.identify import (
    UNREAD,
    FileContext,
    digest_of_first_frame,
    options_of,
    unpack,
)

MAX_OPEN = 8  # files of all decoders of a process together
OPEN_FOR_S = 30.0  # after its last frame a file is closed when another one is asked for
# How long a frame that was announced is waited for: a network file system may show it late here,
# and a writer may have opened the file once more.
PATIENCE_S = 5.0
_BETWEEN_TRIES_S = 0.05

_open_decoders: "weakref.WeakSet[FileDecoder]" = weakref.WeakSet()


class FileDecoder:
    """The frames of one file; call it with a frame's payload, which is empty, and its number.

    `FrameError` where another file has taken the place of the one that was announced.
    """

    def __init__(
        self, context: FileContext, series: str, patience_s: float, open_file: OpenFile
    ) -> None:
        self._context, self._series, self._patience_s = context, series, patience_s
        self._open_file = open_file
        self._grows = is_hdf5_name(os.path.basename(context.identity.path))  # noqa: PTH119
        self._stack = ExitStack()
        self._file: FrameFile | None = None
        self._ready = 0
        self._used = 0.0
        self._lock = threading.Lock()

    def __call__(self, payload: bytes | memoryview, number: int) -> Frame:  # noqa: ARG002 - of Decode
        """Return frame `number` of the file."""
        with self._lock:
            self._used = time.monotonic()
            if self._context.unreadable is not None:
                raise FrameError(self._context.unreadable)
            try:
                return self._read_in_time(number)
            except FrameError:
                raise
            except DeepFreakError as error:  # of mask and geometry
                raise FrameError(str(error)) from error
            finally:
                if self._context.frames == 1:
                    self._close()
                _close_others(self)

    def close(self) -> None:
        """Close the file; it is opened again when a further frame is asked for."""
        with self._lock:
            self._close()

    @property
    def used(self) -> float:
        """When a frame was last asked for, on the monotonic clock."""
        return self._used

    def close_if_idle(self) -> None:
        """Close the file unless a frame of it is being read just now."""
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _read_in_time(self, number: int) -> Frame:
        """Return the frame; of a file that may grow, wait a little if it is not there yet."""
        end = time.monotonic() + (self._patience_s if self._grows else 0.0)
        tried = False
        while True:
            try:
                return replace(self._read(number), file=self._series)
            except ReadingStoppedError:
                raise  # it would be stopped again
            except FrameError:
                there = number < self._ready
                self._close()  # what was opened before may be out of date
                if time.monotonic() >= end or (there and tried):
                    raise
                tried = there
            time.sleep(_BETWEEN_TRIES_S)

    def _read(self, number: int) -> Frame:
        file = self._opened()
        if self._grows and number >= self._ready and file.look is not None:
            extent = file.look()
            self._ready = max(extent.ready, extent.written)
        return file.read(number)

    def _opened(self) -> FrameFile:
        if self._file is None:
            where = self._context.identity.path
            context = self._context
            try:
                file = self._stack.enter_context(
                    self._open_file(where, growing=True, **options_of(context.reading))
                )
                self._require_same(file)
            except BaseException:
                self._close()
                raise
            self._file, self._ready = file, 0
            _open_decoders.add(self)
        return self._file

    def _require_same(self, file: FrameFile) -> None:
        """Raise `FrameError` where this is not the file that was announced."""
        identity = self._context.identity
        try:
            state = os.stat(identity.path)  # noqa: PTH116 - paths are str, and many
            same = identity.is_unchanged(state)
            if self._grows:
                same = identity.inode == state.st_ino or identity.digest == UNREAD
            same = same or digest_of_first_frame(file) == identity.digest
        except OSError as error:
            raise FrameError(f"cannot be read: {error.strerror}") from error
        if not same:
            raise FrameError(
                "expected the file that was announced, found another one of the same name in its "
                "place"
            )

    def _close(self) -> None:
        self._file, self._ready = None, 0
        _open_decoders.discard(self)
        stack, self._stack = self._stack, ExitStack()
        stack.close()


def decoder(
    context: bytes,
    *,
    series: str,
    patience_s: float = PATIENCE_S,
    open_file: OpenFile | None = None,
) -> FileDecoder:
    """Return what reads the frames of the file of this `context` of `watch`.

    `open_file` opens it, by default `open_frames`. Frames are called by the series, which names no
    folder outside the watched one.
    """
    return FileDecoder(unpack(context), series, patience_s, open_file or open_frames)


def _close_others(mine: FileDecoder) -> None:
    """Close the files of other decoders that were not used for long, or are too many."""
    others = sorted((one for one in _open_decoders if one is not mine), key=lambda one: one.used)
    oldest = time.monotonic() - OPEN_FOR_S
    for place, one in enumerate(others):
        if one.used < oldest or len(others) - place >= MAX_OPEN:
            one.close_if_idle()
