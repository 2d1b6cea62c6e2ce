"""Drafts: a file under construction, from which an interrupted run resumes.

A draft is an append log beside the file's final name. It cannot be taken for the file: its name is
hidden, and it is not HDF5.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.storage.log import AppendLog, Settings, open_log
from deepfreak.storage.manifest import Format

# A power failure loses at most this much work; a killed process loses nothing.
SECONDS_BETWEEN_SYNCS = 10.0


def draft_path(out: Path) -> Path:
    """Return where the draft of `out` lies."""
    return out.with_name(f".{out.name}.draft")


@contextmanager
def open_draft(
    out: Path,
    settings: Settings,
    *,
    form: Format,
    replace: bool = False,
    must_exist: bool = False,
    left: str = "what was written before is safe",
) -> Iterator[AppendLog]:
    """Give the draft of `out`: new, or with the records of an earlier run of the same settings.

    It stays when the block fails, and is removed when it ends well.

    Parameters
    ----------
    settings
        All that decides the records, as JSON values.
    form
        Format of the draft: its version tells what the records are.
    replace
        Whether to drop a draft of other settings.
    left
        What an error says remains of the work.

    Raises
    ------
    OutputError
        Another process works on it, it has other settings, or there is none and one must exist.
    """
    path = draft_path(out)
    if must_exist and not path.exists():
        raise OutputError(f"no draft {path} to resume; leave --resume away to begin")
    with open_log(
        path,
        settings,
        form=form,
        busy=f"another process is making {out}; wait for it or choose another name",
        advice="finish that one, remove the draft, or add --overwrite",
        replace=replace,
        cut_damage=True,  # what is dropped is made again
        sync_s=SECONDS_BETWEEN_SYNCS,
        left=left,
    ) as draft:
        yield draft
        path.unlink()
