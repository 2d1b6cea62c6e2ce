"""What keeps a list in step with the ledger, also when it cannot be written for a while."""

import time
from collections.abc import Callable, Sequence

from deepfreak.errors import OutputError
from deepfreak.live.events import Recorded, RecordSink
from deepfreak.live.ledger import Ledger

SECONDS_BETWEEN_TRIES = 0.5


class Follower:
    """Gives a sink each row of the ledger once, in order.

    Parameters
    ----------
    trouble
        Gets one line when the sink can take no more; it is tried again now and then.

    Raises
    ------
    OutputError
        The sink holds more than the ledger: rows of another one.
    """

    def __init__(self, sink: RecordSink, *, ledger: Ledger, trouble: Callable[[str], None]) -> None:
        self._sink, self._ledger, self._trouble = sink, ledger, trouble
        self._fails = False
        self._next_try = 0.0
        if sink.last() > ledger.last:
            raise OutputError(
                f"expected lists of at most {ledger.last} verdicts beside {ledger.path}, found "
                f"{sink.last()} in one of another ledger: remove the lists to have them made again"
            )

    def take(self, rows: Sequence[Recorded]) -> None:
        """Give it rows that the ledger has just got, unless others must go before."""
        if self._sink.last() == rows[0].sequence - 1 and time.monotonic() >= self._next_try:
            self._write(rows)

    def catch_up_a_little(self) -> None:
        """Give it some of what it lacks, if it is time to try."""
        if self._sink.last() < self._ledger.last and time.monotonic() >= self._next_try:
            rows = next(self._ledger.after(self._sink.last()), None)
            if rows is not None:
                self._write(rows)

    def catch_up(self) -> None:
        """Give it all that it lacks, if it can take it."""
        for rows in self._ledger.after(self._sink.last()):
            if not self._write(rows):
                return

    def _write(self, rows: Sequence[Recorded]) -> bool:
        try:
            self._sink.write(rows)
        except OutputError as error:
            self._next_try = time.monotonic() + SECONDS_BETWEEN_TRIES
            if not self._fails:
                self._fails = True
                self._trouble(f"{error}; what it lacks is added when it can be written")
            return False
        self._fails = False
        return True
