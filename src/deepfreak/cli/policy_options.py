"""What `classify`, `watch`, `listen` and `beam` have in common: how decisions are made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_BETWEEN = click.FloatRange(0, 1, min_open=True, max_open=True)
_OPTIONS = (
    click.option(
        "--scores", type=click.Path(path_type=Path),
        help="Scores of this detector, of `deepfreak score`; without, more frames are unsure.",
    ),
    click.option(
        "--min-hit-recall", type=_BETWEEN, default=0.995, show_default=True,
        help="The part of scored hits not to discard.",
    ),
    click.option(
        "--max-empty-kept", type=_BETWEEN, default=0.02, show_default=True,
        help="The part of frames without a crystal that may be kept without doubt.",
    ),
)  # fmt: skip


def policy_options(command: F) -> F:
    """Give `command` the options from which `find_policy` makes a policy."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
