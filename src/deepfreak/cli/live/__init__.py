"""`deepfreak live`: without a detector, and after a session."""

import click

from deepfreak.cli.command import Group
from deepfreak.cli.live.beam import beam
from deepfreak.cli.live.bench import bench
from deepfreak.cli.live.missing import missing
from deepfreak.cli.live.replay import replay


@click.group(cls=Group)
def live() -> None:
    """Rehearse, measure and check live screening."""


for command in (replay, beam, bench, missing):
    live.add_command(command)
