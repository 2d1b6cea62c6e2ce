"""Frames of files as they arrive in directories, each once, and none of them half-written.

The directories are polled (`find`), since inotify and its like tell only of what this very machine
does, and a detector writes to a network file system from another one. What is new is a
`PendingFile` until all of its frames were given out:

- most files have all of their frames at once. They are waited for until neither size nor time of
  change has moved for a while and they can be read to their end;
- HDF5 files grow. Of one that is written for readers to follow (SWMR) frames go out as they come,
  of others when they were seen to be there for a while. A master's frames are those of the files
  to which it links, which are not taken a second time for themselves.

A file that cannot be read is tried again, later and later. If nothing happens to it for
`patience_s`, it is published all the same: the worker then records that it is unreadable.
"""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfreak.errors import InputError, ReadingStoppedError
from deepfreak.formats.files import is_hdf5_name
from deepfreak.formats.guarded import links_in_process, load_guarded
from deepfreak.formats.options import ReadSettings
from deepfreak.live.messages import Event
from deepfreak.live.receive.folder.find import DirectoryTree, FileFound, FileGone
from deepfreak.live.receive.folder.identify import ContextOf, Known, SeriesNames, label_of, prefixes
from deepfreak.live.receive.folder.inspect import InspectionPool, inspection_pool, state_of
from deepfreak.live.receive.folder.publish import FilePublisher, PendingFile, numbers

SETTLE_S = 0.5
POLL_S = 0.2
PATIENCE_S = 60.0
_NAP_S = 0.05
_BETWEEN_SIGNS = 500
_RECHECK_S = 0.002  # spent in each poll on asking whether files that are done were written again


class FolderSource:
    """The frames of files below directories, as a source; see `messages.FrameSource`."""

    def __init__(
        self,
        paths: Sequence[Path],  # folders, or single files
        *,
        known: Known,  # how many frames of a series are recorded already, all numbers from 0
        # the recorded context of a series, None without. It tells after a restart a file from one
        # that has taken its place; without it a name is trusted, and files are opened again
        context_of: ContextOf = lambda _: None,
        # for how long a file must not change before it is taken for written
        settle_s: float = SETTLE_S,
        # from one look at the directories to the next; more while that takes long
        poll_s: float = POLL_S,
        # for how long a file that cannot be read, or a data file without its master, is waited for
        patience_s: float = PATIENCE_S,
        # ends the source when nothing new has come for so long; None for never
        until_idle_s: float | None = None,
        reading: ReadSettings | None = None,  # what the user gives beside the files
        # the processes that look into files, by default those of this thread
        inspections: InspectionPool | None = None,
    ) -> None:
        for path in paths:
            if not path.exists():
                raise InputError(f"expected a directory to watch, found nothing at {path}")
        reading = (reading or ReadSettings()).absolute()
        geometry = load_guarded(reading).get("geometry")  # says now what is wrong with the files
        self._place = None if geometry is None else geometry.data_path
        self._poll_s, self._until_idle_s = poll_s, until_idle_s
        self._names = SeriesNames(known, context_of)
        self._inspections = inspections or inspection_pool()
        self._publisher = FilePublisher(
            self._names,
            self._inspections,
            settle_s=settle_s,
            patience_s=patience_s,
            reading=reading,
        )
        folders = [path.absolute() if path.is_dir() else path.absolute().parent for path in paths]
        roots = list(dict.fromkeys(str(folder) for folder in folders))
        self._prefix = dict(zip(roots, prefixes(roots), strict=True))
        self._trees = [
            (str(folder), DirectoryTree(folder, only=None if path.is_dir() else path.name))
            for folder, path in zip(folders, paths, strict=True)
        ]
        self._master_of: dict[str, str] = {}  # of linked files; paths without links
        self._pending: dict[str, PendingFile] = {}
        self._done: dict[str, tuple[int, int, int]] = {}
        self._root_of: dict[str, str] = {}
        self._hdf5: dict[str, str] = {}  # paths without links to paths
        self._to_recheck: Iterator[str] = iter(())
        self._news = 0.0

    def events(self) -> Iterator[Event | None]:
        """Yield what happens to the files; see `messages.FrameSource`."""
        self._news = time.monotonic()
        try:
            yield from self._all_events()
        finally:
            self._inspections.stop()

    def _all_events(self) -> Iterator[Event | None]:
        while True:
            start = time.monotonic()
            yield from self._poll_folders()
            yield from self._publish_due()
            self._recheck_done()
            if self._until_idle_s is not None:
                idle_s = time.monotonic() - self._news
                if idle_s >= self._until_idle_s:
                    yield from self._publish_due(last=True)
                    return
            yield None
            while (left := start + self._poll_s - time.monotonic()) > 0:
                time.sleep(min(_NAP_S, left))
                yield from self._publish_due()
                yield None

    def _poll_folders(self) -> Iterator[Event | None]:
        for root, tree in self._trees:
            for number, change in enumerate(tree.poll()):
                if isinstance(change, FileFound):
                    self._take(change.path, root)
                    if number % _BETWEEN_SIGNS == 0:
                        yield None
                elif isinstance(change, FileGone):
                    self._done.pop(change.path, None)
                    if change.path in self._pending:
                        self._pending[change.path].state_due = 0.0
                else:
                    yield change

    def _publish_due(self, *, last: bool = False) -> Iterator[Event | None]:
        """Publish from all files that are due, masters before what they link to."""
        now = time.monotonic()
        due = [one for one in self._pending.values() if last or one.state_due <= now]
        known = []
        for number, file in enumerate(due):
            if self._find_links(file, last=last):
                known.append(file)
            if number % _BETWEEN_SIGNS == 0:
                yield None
        sign = time.monotonic()
        for file in known:
            if file.path not in self._pending:
                continue  # claimed by a master meanwhile
            for event in self._publisher.publish(file, last=last):
                self._news = sign = time.monotonic()
                yield event
            self._news = max(self._news, file.changed)
            if file.over:
                self._put_away(file)
            if time.monotonic() - sign > _NAP_S:
                yield None
                sign = time.monotonic()
        if self._inspections.waiting:
            self._news = time.monotonic()

    def _put_away(self, file: PendingFile) -> None:
        del self._pending[file.path]
        if file.stamp:
            self._done[file.path] = file.stamp[0] or (0, 0, 0)
        if file.series is None and file.links:
            # a master that has gone unread: its images are to be read from their own files
            freed = [link for link, one in self._master_of.items() if one == file.real]
            for link in freed:
                del self._master_of[link]
                if link in self._hdf5:
                    self._take(self._hdf5[link], self._root_of[self._hdf5[link]])

    def _take(self, path: str, root: str) -> None:
        """Take up a file that is new, or may have been written again."""
        if self._root_of.setdefault(path, root) != root:
            return  # watched twice, as a directory and one above it
        label = label_of(path, root, self._prefix[root])
        real = path
        if is_hdf5_name(path.rpartition("/")[2]):
            real = os.path.realpath(path)
            self._hdf5[real] = path
            if real in self._master_of:
                return  # which tells when it grows
        elif self._is_done(path, label):
            return
        self._done.pop(path, None)
        self._news = now = time.monotonic()
        if path not in self._pending:
            self._pending[path] = PendingFile(
                path=path, root=root, label=label, real=real, found=now, changed=now
            )

    def _is_done(self, path: str, label: str) -> bool:
        """Return whether all of a file was published before, or it is not a regular file."""
        try:
            state = state_of(path)
        except OSError:
            return False
        if not stat.S_ISREG(state.st_mode):
            return True
        past = self._names.recall(label, state)
        if past is None or not past.whole:
            return False
        self._done[path] = numbers(state)
        return True

    def _recheck_done(self) -> None:
        """Check some files that are done: the directory does not show a new content."""
        end = time.monotonic() + _RECHECK_S
        while time.monotonic() < end:
            path = next(self._to_recheck, None)
            if path is None:
                self._to_recheck = iter(list(self._done))
                return
            known = self._done.get(path)
            try:
                if known is None or numbers(os.stat(path)) == known:  # noqa: PTH116 - many
                    continue
            except OSError:
                continue  # the tree tells
            self._take(path, self._root_of[path])

    def _find_links(self, file: PendingFile, *, last: bool) -> bool:
        """Find the files to which a master links; they are not read for themselves.

        Return whether they are known by now.
        """
        if not file.is_hdf5 or file.is_data_file:
            return True
        try:
            own = numbers(os.stat(file.path))  # noqa: PTH116 - paths are str, and many
        except OSError:
            return True
        sought = file.links_known or time.monotonic() < file.inspection_due
        if own == file.links_of and sought:
            return True
        try:
            key = ("links", file.path, own[0])
            found = self._inspections.ask(
                key, links_in_process, file.real, patient=last, place=self._place
            )
        except ReadingStoppedError:
            found = [{"files": [], "gives": True}]  # the look that follows says what is wrong
        if not found:
            return False
        file.links_of, file.links_known = own, True
        links = frozenset(found[0]["files"])
        if not found[0]["gives"]:
            file.skipped = True
        if not links or file.skipped or self._taken_before(file, links):
            return True
        file.links = links
        for link in links:
            self._master_of.setdefault(link, file.real)
            self._pending.pop(self._hdf5.get(link, ""), None)
        return True

    def _taken_before(self, master: PendingFile, links: frozenset[str]) -> bool:
        """Return whether images of a master were published before it was known to be one."""
        if self._names.is_known(master.label):
            return False
        for link in links:
            path = self._hdf5.get(link)
            if path is not None:
                root = self._root_of[path]
                if self._names.is_known(label_of(path, root, self._prefix[root])):
                    master.skipped = True
        return master.skipped
