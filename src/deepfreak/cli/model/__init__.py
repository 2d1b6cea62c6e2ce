"""`deepfreak model`: train, evaluate, calibrate and search."""

import click

from deepfreak.cli.command import Group
from deepfreak.cli.model.evaluate import calibrate, evaluate
from deepfreak.cli.model.search import search
from deepfreak.cli.model.train import train


@click.group(cls=Group)
def model() -> None:
    """Train, evaluate, calibrate and search for models."""


for command in (train, evaluate, calibrate, search):
    model.add_command(command)
