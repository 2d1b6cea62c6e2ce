"""`deepfreak listen`: verdicts on what a detector streams."""

from typing import TYPE_CHECKING, Any, Literal

import click

from deepfreak.cli.command import Command
from deepfreak.cli.options import frame_options, read_settings
from deepfreak.cli.sessions import run_session, session_options, settings_from

if TYPE_CHECKING:
    from deepfreak.live.ledger import Ledger
    from deepfreak.live.messages import FrameSource


@click.command(cls=Command, extra="live")
@click.argument("address")
@session_options
@click.option(
    "--protocol", type=click.Choice(["auto", "v1", "v2"]), default="auto", show_default=True,
    help="DECTRIS Stream V1 (port 9999) or V2 (port 31001).",
)  # fmt: skip
@frame_options
def listen(*, address: str, protocol: Literal["auto", "v1", "v2"], **options: Any) -> int:  # noqa: ANN401 -- of all kinds
    """Classify the frames that a detector streams.

    ADDRESS is the detector's, such as tcp://detector:31001. Frames that come faster than they can
    be classified are sampled fairly; the rest is counted. Ctrl-C ends it; the same command resumes,
    after a crash too.
    """
    from deepfreak.formats.finishing import require_no_places
    from deepfreak.formats.guarded import load_guarded
    from deepfreak.live.receive.dectris.stream import StreamSource

    def source(_ledger: "Ledger") -> "FrameSource":
        return StreamSource(address, protocol=protocol)

    reading = read_settings(options).absolute()
    require_no_places(load_guarded(reading))  # says now what is wrong with the files
    return run_session(settings_from({**options, "reading": reading}), source, name=address)
