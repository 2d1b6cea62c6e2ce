"""`deepfreak watch`: verdicts on files while they arrive."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import INPUT, Command
from deepfreak.cli.options import frame_options, read_settings
from deepfreak.cli.sessions import run_session, session_options, settings_from

if TYPE_CHECKING:
    from deepfreak.live.ledger import Ledger
    from deepfreak.live.messages import FrameSource


@click.command(cls=Command, extra="live")
@click.argument("paths", nargs=-1, required=True, type=INPUT)
@session_options
@frame_options
@click.option(
    "--until-idle", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
    help="End when nothing new has come for this long.",
)  # fmt: skip
def watch(*, paths: tuple[Path, ...], until_idle: float | None, **options: Any) -> int:  # noqa: ANN401 -- of all kinds
    """Classify detector files as they arrive in directories.

    Any order and format. Incomplete files are waited for. Files that exist already are classified
    first. Ctrl-C ends it; the same command resumes, after a crash too.
    """
    from dataclasses import replace

    from deepfreak.live.receive.folder.source import FolderSource

    reading = read_settings(options)

    def source(ledger: "Ledger") -> "FrameSource":
        def context_of(series: str) -> bytes | None:
            began = ledger.began(series)
            return None if began is None else began.context

        return FolderSource(
            paths,
            known=lambda series: ledger.seen(series).contiguous,
            context_of=context_of,
            until_idle_s=until_idle,
            reading=reading,
        )

    settings = settings_from(options)
    # files wait where they are
    settings = replace(settings, limits=replace(settings.limits, when_full="wait"))
    return run_session(settings, source, name=", ".join(map(str, paths)))
