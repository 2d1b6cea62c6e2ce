"""Samplers: what to try next, one module each."""

from collections.abc import Sequence
from typing import Any, Protocol

from deepfreak.search.trial import Trial


class Sampler(Protocol):
    """Proposes trials; a pure function of the trials before, so that a search can be resumed."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides what it proposes, as JSON values: a journal's settings."""

    def propose(self, history: Sequence[Trial]) -> Trial | None:
        """Return the trial to begin after those of `history`.

        Parameters
        ----------
        history
            All trials that have begun, in order. The last ones have no outcome: either they are
            under way, or which of them have ended must not matter.

        Returns
        -------
        Trial
            With the number `len(history)`; None if it depends on trials under way, and at the end.
        """
