"""`deepfreak data`: labelled images and detector files."""

import click

from deepfreak.cli.command import Group
from deepfreak.cli.data.export import export
from deepfreak.cli.data.fetch import fetch
from deepfreak.cli.data.generate import generate
from deepfreak.cli.data.import_ import import_
from deepfreak.cli.data.join import join
from deepfreak.cli.data.prepare import prepare
from deepfreak.cli.data.randomise import randomise
from deepfreak.cli.data.show import show
from deepfreak.cli.data.simulate import simulate
from deepfreak.cli.data.verify import verify


@click.group(cls=Group)
def data() -> None:
    """Simulate, check, join, convert and fetch data."""


for command in (
    simulate, generate, randomise, verify, join, show, prepare, import_, export, fetch,
):  # fmt: skip
    data.add_command(command)
