"""What a run says of the frames that it reads, each thing once."""

from collections.abc import Callable

from deepfreak.frames.frame import Frame


class Notices:
    """Says each note of the frames of a run once, and that a gain is unknown once.

    Parameters
    ----------
    say
        Takes one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()

    def __call__(self, frame: Frame) -> None:
        """Say what is new about `frame`."""
        for note in notes_of(frame):
            if note not in self._said:
                self._said.add(note)
                self._say(f"{frame.file}: {note}")


def notes_of(frame: Frame) -> tuple[str, ...]:
    """Return the notes of a frame, and the one about an unknown gain."""
    if frame.gain is not None:
        return frame.notes
    return (
        *frame.notes,
        "the gain is unknown: judged as 1 count for each photon (--gain says it)",
    )
