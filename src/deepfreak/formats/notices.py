"""Notes on the frames of a run, each reported once."""

from deepfreak.formats.frame import Frame

UNKNOWN_GAIN = "the gain is unknown: prepared as 1 count for each photon (--gain says it)"
_MAX_REMEMBERED = 10_000


class Notices:
    """Keeps the notes of the frames of a run, so that each is said once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def new(self, frame: Frame) -> tuple[str, ...]:
        """Return those notes of `frame` that are new, and once that its gain is unknown."""
        notes = frame.notes if frame.gain is not None else (*frame.notes, UNKNOWN_GAIN)
        if not notes or len(self._said) >= _MAX_REMEMBERED:
            return ()
        found = tuple(note for note in dict.fromkeys(notes) if note not in self._said)
        self._said.update(found)
        return found
