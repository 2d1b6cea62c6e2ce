"""`python -m paper`: the tables of the DiffraNet paper, from a checkout."""

import sys
from collections.abc import Sequence

from deepfreak.cli import main as run
from paper.commands import reproduce


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run(argv, commands=reproduce, name="python -m paper")


if __name__ == "__main__":
    sys.exit(main())
