"""Drafts: files under construction, from which an interrupted run resumes.

A draft is an append log beside the final file. It cannot be mistaken for it: its name is hidden,
and it is not HDF5.
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
    """Return the path of the draft of `out`."""
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
    """Open the draft of `out`: new, or with the records of an earlier run of the same settings.

    It is kept when the block fails and removed when it succeeds. `settings` are all that determines
    the records, `form` covers the format of the records, too. `replace` drops a draft of other
    settings, `must_exist` resumes only, `left` is what an error message says remains of the work.
    Raises `OutputError` if another process has it open, it has other settings, or it must exist and
    does not.
    """
    path = draft_path(out)
    if must_exist and not path.exists():
        raise OutputError(f"no draft {path} to resume; start without --resume")
    with open_log(
        path,
        settings,
        form=form,
        busy=f"another process is making {out}; wait for it or choose another name",
        advice="finish that one, remove the draft, or add --overwrite",
        replace=replace,
        cut_damage=True,  # dropped records are recomputed
        sync_s=SECONDS_BETWEEN_SYNCS,
        left=left,
    ) as draft:
        yield draft
        path.unlink()
