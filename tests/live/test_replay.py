"""The messages of a replayed detector, and when it ends."""

import numpy as np
import pytest

from deepfreak.errors import DeepFreakError
from deepfreak.formats.frame import Metadata
from deepfreak.live.receive.dectris.sender import encode_pixels
from deepfreak.live.replay import Recording, replay


class Heard:
    """Stands in for a speaker whose listener accepts all frames but some."""

    address = "tcp://nowhere:1"

    def __init__(self, *, listens=True, drops=()):
        self.numbers, self.ended, self._listens, self._drops = [], 0, listens, drops

    def start(self, start, *, within_s):
        self.began = start
        return self._listens

    def wait(self, seconds):
        return self._listens

    def image(self, number, pixels, *, truth=None):
        self.numbers.append((number, None if truth is None else truth["label"]))
        return number not in self._drops

    def end(self, *, within_s):
        self.ended += 1


@pytest.fixture
def recording():
    pixels = encode_pixels(np.zeros((8, 8), np.uint16), protocol="v2", compression="none")
    frames = tuple((pixels, {"label": label}) for label in ("blank", "weak", "strong"))
    return Recording(name="made", frames=frames, metadata=Metadata(), mask=None, simulated=True)


def test_frames_come_again_in_their_order_with_numbers_of_their_own(recording):
    speaker = Heard(drops={1, 4})
    done = replay(recording, speaker, count=5, rate_hz=None)
    labels = ["blank", "weak", "strong"]
    assert speaker.numbers == [(number, labels[number % 3]) for number in range(5)]
    assert (done.sent, done.dropped, speaker.ended) == (3, [1, 4], 1)
    assert speaker.began.expected == 5


def test_after_a_restart_in_the_middle_the_rest_follows(recording):
    speaker = Heard()
    done = replay(recording, speaker, count=5, first=3, rate_hz=1e6)
    assert [number for number, _ in speaker.numbers] == [3, 4]
    assert done.sent == 2


@pytest.mark.parametrize("rate_hz", [None, 1e5, 0.001])
def test_who_is_stopped_ends_the_series(recording, rate_hz):
    speaker = Heard()

    def stopped():
        return len(speaker.numbers) == (1 if rate_hz == 0.001 else 7)

    replay(recording, speaker, count=None, rate_hz=rate_hz, stopped=stopped)
    assert stopped()  # and not one more frame
    assert speaker.ended == 1


def test_nothing_is_sent_to_nobody(recording):
    speaker = Heard(listens=False)
    with pytest.raises(DeepFreakError, match="no listener"):
        replay(recording, speaker, count=5, rate_hz=None)
    assert not speaker.numbers
