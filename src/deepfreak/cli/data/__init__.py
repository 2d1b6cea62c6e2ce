"""`deepfreak data`: labelled images and detector files."""

import click

from deepfreak.cli.command import Group
from deepfreak.cli.data.files import export, fetch, import_, join, show, verify
from deepfreak.cli.data.prepare import prepare
from deepfreak.cli.data.simulate import generate, randomise, simulate


@click.group(cls=Group)
def data() -> None:
    """Simulate, check, join, convert and fetch data."""


for command in (
    simulate, generate, randomise, verify, join, show, prepare, import_, export, fetch,
):  # fmt: skip
    data.add_command(command)
