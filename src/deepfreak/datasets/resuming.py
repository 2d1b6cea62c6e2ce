"""Files made piece by piece, which resume after an interruption."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from deepfreak.datasets.executors import AHEAD, in_order
from deepfreak.errors import DeepFreakError, OutputError
from deepfreak.storage.draft import draft_path, open_draft
from deepfreak.storage.files import check_output, whole_hdf5
from deepfreak.storage.manifest import Format

if TYPE_CHECKING:
    import h5py

T = TypeVar("T")


class Attempt(TypedDict, total=False):
    """Options of one run; none of them changes the result."""

    # where to work, by default in this process, and the maximum number of tasks in progress
    executor: Executor | None
    ahead: int
    overwrite: bool  # replace the file, and a draft of another run
    resume: bool  # resume only: there must be a draft
    advance: Callable[[int], None] | None  # called with the number of further pieces that are done


def make_file(
    out: Path,
    settings: Mapping[str, Any],
    *,
    form: Format,
    work: Callable[[int, int], list[bytes]],
    pieces: range,
    pieces_per_task: int,
    bytes_per_piece: float,
    unit: str,
    fill: Callable[["h5py.File", Iterator[bytes]], T],
    **attempt: Unpack[Attempt],
) -> T:
    """Make the HDF5 file `out` from pieces made by `work`, and return the result of `fill`.

    Each piece is appended to the draft beside `out`, from which a later run resumes.

    Parameters
    ----------
    settings
        All that the pieces depend on, as JSON values.
    form
        Format of the draft.
    work
        Returns the packed pieces first to last - 1; pickled, and called in a worker.
    pieces_per_task
        A task ends before a piece whose index is a multiple of it, or at the last piece.
    bytes_per_piece
        Approximate size in the file, to check the free space before any work is done.
    unit
        Name of the pieces in messages: "images".
    fill
        Writes the file, given all packed pieces in order.

    Raises
    ------
    OutputError
        `out` exists, is being made by another process, the draft is of another run, or the disk is
        full. Finished pieces stay in the draft; an incomplete file never has the name `out`.
    DeepFreakError
        A worker crashed; finished pieces stay in the draft.
    """
    overwrite, advance = attempt.get("overwrite", False), attempt.get("advance")
    draft_file = draft_path(out)
    there = draft_file.stat().st_size if draft_file.exists() else 0
    # in the end both the draft and the file exist
    needed = int(2 * len(pieces) * bytes_per_piece) - there
    check_output(out, overwrite=overwrite, expected_bytes=needed)
    with open_draft(
        out, settings, form=form, replace=overwrite, must_exist=attempt.get("resume", False)
    ) as draft:

        def kept() -> str:
            done = f"{len(draft)} of {len(pieces)} {unit} are kept in {draft_file.name}"
            return f"{done}: give the same command again"

        if advance is not None and len(draft):
            advance(len(draft))
        tasks = _tasks(pieces[len(draft) :], pieces_per_task)
        ahead = attempt.get("ahead", AHEAD)
        try:
            for batch in in_order(attempt.get("executor"), work, tasks, ahead=ahead):
                draft.extend(batch)
                if advance is not None:
                    advance(len(batch))
        except BrokenProcessPool as error:
            raise DeepFreakError(
                f"a worker process crashed (out of memory?); {kept()}, with fewer --workers"
            ) from error
        except OutputError as error:
            raise OutputError(f"{error}; {kept()}") from error
        for orphan in out.parent.glob(f".{out.name}.*.partial"):
            orphan.unlink()  # of a run that was killed while it wrote the file
        with whole_hdf5(out, overwrite=overwrite, left=kept()) as (file, check_disk):

            def checked() -> Iterator[bytes]:
                for piece in draft.records():
                    yield piece
                    check_disk()

            return fill(file, checked())


def _tasks(pieces: range, size: int) -> Iterator[tuple[int, int]]:
    """Yield ranges (first, last) that make up `pieces`, each within a block of `size` of all."""
    first = pieces.start
    while first < pieces.stop:
        last = min((first // size + 1) * size, pieces.stop)
        yield first, last
        first = last
