"""Makes docs/commands.md from the command line itself: python docs/make_commands.py."""

from pathlib import Path

import click

from deepfreak.cli import app
from deepfreak.cli.command import commands

PAGE = Path(__file__).with_name("commands.md")
INTRODUCTION = """# Commands

Made by `python docs/make_commands.py` from the command line itself.
Each command also says this with `--help`. [Exit codes](exit_codes.md) mean the same everywhere.
"""


def text_of(words: tuple[str, ...], command: click.Command) -> str:
    """Return the section of one command: what it says with `--help` at 80 columns."""
    name = " ".join(("deepfreak", *words))
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=80)
    return f"## {name}\n\n```\n{command.get_help(context)}\n```\n"


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(text_of(*each) for each in commands(app))])


if __name__ == "__main__":
    PAGE.write_text(page())
