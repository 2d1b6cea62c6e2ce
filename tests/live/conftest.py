"""What a session shows a person."""

import logging

import pytest


class Shown(logging.Handler):
    """Keeps the messages of warnings."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


@pytest.fixture
def said():
    """Give the warnings of live screening, as they come."""
    shown, log = Shown(), logging.getLogger("deepfreak.live")
    log.addHandler(shown)
    yield shown.messages
    log.removeHandler(shown)
