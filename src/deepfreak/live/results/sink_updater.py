"""What keeps a list in step with the ledger, also when it cannot be written for a while."""

import time
from collections.abc import Callable, Sequence

from deepfreak.errors import OutputError
from deepfreak.live.messages import LedgerRow, OutcomeSink
from deepfreak.live.results.ledger import Ledger


class SinkUpdater:
    """Gives a sink each row of the ledger once, in order.

    Parameters
    ----------
    trouble
        Gets one line when the sink can take no more; it is tried again now and then.
    every_s, retry_s
        Seconds between two writes, and until one that failed is tried again.

    Raises
    ------
    OutputError
        The sink holds more than the ledger: rows of another one.
    """

    def __init__(
        self,
        sink: OutcomeSink,
        *,
        ledger: Ledger,
        trouble: Callable[[str], None],
        every_s: float = 0.0,
        retry_s: float = 0.5,
    ) -> None:
        self._sink, self._ledger, self._trouble = sink, ledger, trouble
        self._every_s, self._retry_s, self._fails = every_s, retry_s, False
        self._next_try = self._next_write = 0.0
        self._rows: list[LedgerRow] = []
        if sink.last() > ledger.last:
            raise OutputError(
                f"expected lists of at most {ledger.last} verdicts beside {ledger.path}, found "
                f"{sink.last()} in one of another ledger: remove the lists to have them made again"
            )

    def take(self, rows: Sequence[LedgerRow]) -> None:
        """Keep rows that the ledger has just got, unless others must go before."""
        last = self._rows[-1].sequence if self._rows else self._sink.last()
        if last == rows[0].sequence - 1 and time.monotonic() >= self._next_try:
            self._rows += rows

    def update_if_due(self) -> None:
        """Give it what was kept, or some of what it lacks, if it is time."""
        now = time.monotonic()
        if now < max(self._next_try, self._next_write) or self._sink.last() >= self._ledger.last:
            return
        self._next_write = now + self._every_s
        rows, self._rows = self._rows, []
        more = rows or next(self._ledger.after(self._sink.last()), [])
        if more:
            self._write(more)

    def update(self) -> None:
        """Give it all that it lacks, if it can take it."""
        self._rows = []
        for rows in self._ledger.after(self._sink.last()):
            if not self._write(rows):
                return

    def _write(self, rows: Sequence[LedgerRow]) -> bool:
        try:
            self._sink.write(rows)
        except OutputError as error:
            self._next_try = time.monotonic() + self._retry_s
            if not self._fails:
                self._fails = True
                self._trouble(f"{error}; what it lacks is added when it can be written")
            return False
        self._fails = False
        return True
