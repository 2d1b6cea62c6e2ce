"""`python -m deepfreak` is the command `deepfreak`."""

from deepfreak.cli import entry_point

entry_point()
