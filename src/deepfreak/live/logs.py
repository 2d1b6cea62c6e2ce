"""Logging of a session: where records go, and what they carry.

Modules log to `logging.getLogger(__name__)`, below "deepfreak.live". A record that concerns a
series or a frame carries both (`extra=about(series, number)`). INFO is for what goes as it should
and for single frames, WARNING for what a person at the beamline must see, and for its end.

A worker sends its records through its pipe (`PipeHandler`): a queue would have a lock that a killed
worker may hold.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.storage.files import reason_of
from deepfreak.text import printable

LOG_FILE = "session.log"
MAX_LOG_BYTES = 10 << 20
LOG_FILES_KEPT = 5

log = logging.getLogger("deepfreak.live")
_others = (logging.getLogger("deepfreak"), logging.getLogger("uvicorn"))


def about(series: str | None = None, number: int | None = None) -> dict[str, str | int | None]:
    """Return what a record carries of the series and the frame that it concerns."""
    return {"series": series, "frame": number}


class SessionFormatter(logging.Formatter):
    """One line a record: time (UTC), level, module, series, frame, message; a traceback below."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(module)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, in which nothing can begin another one."""
        series, number = getattr(record, "series", None), getattr(record, "frame", None)
        context = "" if series is None else f" series={series}"
        context += "" if number is None else f" frame={number}"
        return printable(f"{super().formatMessage(record)}{context}: {record.message}")


class _LogFile(RotatingFileHandler):
    """A log that a full disk cannot stop the run by."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the record out."""


class EchoHandler(logging.Handler):
    """Gives each message to a function that shows it to a person."""

    def __init__(self, show: Callable[[str], None], level: int) -> None:
        super().__init__(level)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show the message."""
        self._show(record.getMessage())


class PipeHandler(QueueHandler):
    """Sends the records of a worker by a function, message and traceback made text before."""

    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(None)  # type: ignore[arg-type] # enqueue uses no queue
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send the record; who reads the pipe gives it to `handle`."""
        self._send(record)


def handle(record: logging.LogRecord) -> None:
    """Log a record of another process here."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


@contextmanager
def session_log(directory: Path, show: Callable[[str], None] | None = None) -> Iterator[None]:
    """Log to a file in the session's directory meanwhile, and show warnings.

    `show` gets the messages that a person must see: warnings, or all if DEBUG is enabled for
    "deepfreak"; other handlers then get none. Raises `OutputError` where the file cannot be
    written.
    """
    verbose = _others[0].isEnabledFor(logging.DEBUG)
    path = directory / LOG_FILE
    try:
        file = _LogFile(path, maxBytes=MAX_LOG_BYTES, backupCount=LOG_FILES_KEPT)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}") from error
    file.setFormatter(SessionFormatter())
    echo = (
        None if show is None else EchoHandler(show, logging.DEBUG if verbose else logging.WARNING)
    )
    before = log.level, log.propagate
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = echo is None
    with ExitStack() as stack:
        stack.callback(file.close)
        for logger in _others if echo is None else (*_others, log):
            logger.addHandler(file)
            stack.callback(logger.removeHandler, file)
        if echo is not None:
            log.addHandler(echo)
            stack.callback(log.removeHandler, echo)
        try:
            yield
        finally:
            log.level, log.propagate = before
