"""Which series a message belongs to when starts, ends, ids or connections are missing."""

import time
from itertools import chain

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from deepfreak.live.messages import Arrival, SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.receive.dectris.messages import End, Image, Start
from deepfreak.live.receive.dectris.sender import StreamSender, encode_image
from deepfreak.live.receive.dectris.series import SeriesTracker
from deepfreak.live.receive.dectris.stream import StreamSource
from deepfreak.live.receive.frame_accounting import FrameAccounting, NumberSet, SeriesState
from tests.live.detectors import SHAPE, a_start, counts_of, frames, heard, of_kind, troubles

ID = "01HXAMPLE"


def mask_of(row: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    mask[row] = True
    return mask


def start(number: int = 7, *, unique_id=None, row: int = 1, **changes) -> Start:
    return a_start(series_id=number, unique_id=unique_id, masks={"one": mask_of(row)},
                   channels=("one",), **changes)  # fmt: skip


def images(*numbers: int, number: int = 7, unique_id=None) -> list[Image]:
    return [Image(series_id=number, unique_id=unique_id, number=each) for each in numbers]


def end(number: int = 7, *, unique_id=None) -> End:
    return End(series_id=number, unique_id=unique_id)


class Talk:
    """A conversation, and the record of what was received."""

    def __init__(self, protocol: str = "v1", accounting: FrameAccounting | None = None) -> None:
        self.protocol, self.accounting = protocol, accounting or FrameAccounting()
        self.conversation = SeriesTracker()
        self.conversation.resume(self.accounting)
        self.events, self.new, self.duplicates = [], [], 0

    def hear(self, *messages, sender: int = 0, protocol: str | None = None) -> "Talk":
        for message in messages:
            events = self.conversation.events(
                message, protocol or self.protocol, b"", received=1.0, since=1.0, sender=sender
            )
            for event in events:
                match event:
                    case SeriesBegan():
                        self.accounting.begin(event)
                    case SeriesEnded():
                        self.accounting.end(event.series, event.expected)
                    case Arrival():
                        is_new = self.accounting.add(event.series, event.number)
                        self.duplicates += not is_new
                        if is_new:
                            self.new.append((event.series, event.number))
            self.events += events
        return self

    @property
    def lines(self) -> list[str]:
        return troubles(self.events)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.new))

    def numbers(self, name: str) -> list[int]:
        return [number for series, number in self.new if series == name]

    def lacks(self, name: str) -> tuple[str, ...]:
        return self.accounting.line(name).lacks


@pytest.fixture(params=["v1", "v2"])
def talk(request) -> Talk:
    return Talk(request.param)


@pytest.fixture(params=[None, ID])
def unique_id(request):
    return request.param


def test_a_missed_start_is_told_once_and_on_record(unique_id):
    talk = Talk("v2").hear(*images(0, 1, 2, unique_id=unique_id), end(unique_id=unique_id))
    (name,) = talk.names
    (line,) = talk.lines
    assert line == (
        f"series {name}: its start was missed; classified without the detector's mask, saturation "
        "and beam centre"
    )
    assert talk.lacks(name) == ("start",)
    assert talk.accounting.line(name).ended


def test_a_late_start_is_taken_for_the_frames_behind_it(unique_id):
    talk = Talk("v2").hear(
        *images(0, 1, unique_id=unique_id),
        start(unique_id=unique_id),
        *images(2, unique_id=unique_id),
        end(unique_id=unique_id),
    )
    (name,) = talk.names
    assert talk.numbers(name) == [0, 1, 2]
    assert talk.lacks(name) == ()
    assert "its start came late" in talk.lines[-1]
    order = [type(event) for event in talk.events]
    last = len(order) - 1 - order[::-1].index(SeriesBegan)
    assert order[last:] == [SeriesBegan, Arrival, SeriesEnded]
    assert talk.events[last].brings_start


def test_a_start_behind_all_images_is_taken_too(talk):
    talk.hear(*images(0, 1, 2), start(), end())
    assert talk.names == ["7"]
    assert (talk.lacks("7"), talk.accounting.line("7").ended) == ((), True)
    assert talk.accounting.line("7").expected == 3


def test_an_end_without_start_and_images_is_a_series_that_was_missed(talk):
    talk.hear(end(), end())
    assert talk.lines == ["series 7: its end came, but neither its start nor an image"]
    assert talk.accounting.line("7").ended
    assert not talk.new


def test_a_start_that_comes_twice_begins_one_series(unique_id):
    beginning = start(unique_id=unique_id)
    talk = Talk("v2").hear(
        beginning, beginning, *images(0, 1, unique_id=unique_id), beginning,
        *images(2, unique_id=unique_id), end(unique_id=unique_id),
    )  # fmt: skip
    (name,) = talk.names
    assert talk.numbers(name) == [0, 1, 2]
    assert talk.lines == []


def test_another_start_of_the_same_series_governs_later_frames(unique_id):
    talk = Talk("v2").hear(
        start(unique_id=unique_id, row=1), *images(0, unique_id=unique_id),
        start(unique_id=unique_id, row=2), *images(1, unique_id=unique_id),
    )  # fmt: skip
    assert len(talk.names) == 1
    assert "another start came" in talk.lines[0]
    first, second = (began.context for began in of_kind(talk.events, SeriesBegan))
    assert first != second


def test_a_damaged_second_start_does_not_replace_the_first(talk):
    damaged = Start(series_id=7, unread={"mask": "expected a mask"})
    talk.hear(start(), *images(0), damaged, *images(1))
    assert talk.names == ["7"]
    assert talk.lacks("7") == ()
    assert "the first one is kept" in talk.lines[0]


def test_a_series_without_an_end_ends_with_the_next_one(unique_id):
    other = unique_id and "01HXANOTHER"
    talk = Talk("v2").hear(
        start(unique_id=unique_id), *images(0, unique_id=unique_id),
        start(8, unique_id=other), *images(0, number=8, unique_id=other),
        end(8, unique_id=other), *images(1, unique_id=unique_id),
    )  # fmt: skip
    first, second = talk.names
    assert talk.accounting.line(first).ended
    assert talk.accounting.line(second).ended
    assert talk.numbers(first) == [0, 1]
    assert talk.accounting.line(first).missed == 1


def test_a_number_that_is_used_again_is_another_series(talk):
    for _ in range(3):
        talk.hear(start(), *images(0, 1, 2), end())
    assert talk.names == ["7", "7 (2)", "7 (3)"]
    assert talk.duplicates == 0
    assert talk.lines == []


def test_a_detector_restarted_without_an_end_begins_another_series(talk):
    talk.hear(start(), *images(0, 1, 2), start(), *images(0, 1, 2))
    assert [talk.numbers(name) for name in talk.names] == [[0, 1, 2], [0, 1, 2]]
    assert talk.duplicates == 0


@pytest.mark.parametrize("first", [0, 1, 5])
def test_a_detector_restarted_over_a_new_connection_whose_start_was_missed(talk, first):
    talk.hear(start(), *images(*range(8)))
    talk.conversation.lost(0)
    talk.hear(*images(*range(first, 12)))
    assert talk.names == ["7", "7 (2)"]
    assert talk.numbers("7 (2)") == list(range(first, 12))
    assert talk.lacks("7 (2)") == ("start",)
    assert talk.duplicates == 0


def test_after_an_end_whose_number_comes_again_all_frames_are_new(talk):
    talk.hear(start(), *images(0, 1), end(), *images(0, 1), end(), *images(1))
    assert talk.names == ["7", "7 (2)", "7 (3)"]
    assert talk.duplicates == 0


def test_a_connection_that_breaks_in_mid_series_does_not_break_the_series(talk):
    talk.hear(start(), *images(0, 1, 2))
    talk.conversation.lost(0)
    talk.hear(*images(5, 6, 3), end(), sender=9)
    assert talk.names == ["7"]
    assert talk.numbers("7") == [0, 1, 2, 5, 6, 3]
    assert talk.accounting.line("7").ended


def test_on_an_unbroken_connection_a_number_that_comes_twice_is_the_same_frame(talk):
    talk.hear(start(), *images(0, 1, 1, 3, 2, 0), end())
    assert talk.numbers("7") == [0, 1, 3, 2]
    assert talk.duplicates == 2


def test_two_detectors_on_one_socket_are_told_apart(talk):
    for sender in (5, 9):
        talk.hear(start(row=sender), sender=sender)
    for number in range(3):
        for sender in (9, 5):
            talk.hear(*images(number), sender=sender)
    talk.hear(end(), sender=5)
    assert talk.lines == ["series 7 (2): two detectors send a series 7; this is that of the second"]
    assert talk.numbers("7") == talk.numbers("7 (2)") == [0, 1, 2]
    assert talk.duplicates == 0
    assert (talk.accounting.line("7").ended, talk.accounting.line("7 (2)").ended) == (True, False)


def test_two_detectors_without_starts_are_told_apart(talk):
    for number in range(4):
        for sender in (5, 9):
            talk.hear(*images(number), sender=sender)
    assert talk.numbers("7") == talk.numbers("7 (2)") == [0, 1, 2, 3]


def test_both_protocols_may_use_one_number():
    talk = Talk()
    for protocol in ("v1", "v2"):
        talk.hear(start(), *images(0, 1), protocol=protocol)
    assert talk.names == ["7", "7 (2)"]
    assert talk.duplicates == 0


def test_a_simulated_detector_that_uses_one_unique_id_for_all_series():
    talk = Talk("v2")
    for number in (1, 2):
        of = {"number": number, "unique_id": ID}
        talk.hear(start(**of), *images(0, 1, **of), end(**of))
    assert talk.names == [ID, f"{ID} (2)"]
    assert talk.duplicates == 0
    again = Talk("v2", talk.accounting).hear(*images(2, number=2, unique_id=ID))
    assert again.new == [(f"{ID} (2)", 2)]
    assert again.lines == []  # the earlier run has its start


def earlier(*lines: SeriesState) -> FrameAccounting:
    accounting = FrameAccounting()
    for line in lines:
        accounting.restore(line)
    return accounting


def line_of(name: str = "7", *, numbers=range(5), protocol: str = "v1", **state) -> SeriesState:
    return SeriesState(series=name, kind=f"dectris-{protocol}", seen=NumberSet(numbers), **state)


def test_after_a_restart_of_ours_a_series_goes_on_with_the_start_on_record(talk):
    accounting = earlier(line_of(protocol=talk.protocol, lacks=("mask",)))
    again = Talk(talk.protocol, accounting).hear(*images(7, 8), end())
    assert again.new == [("7", 7), ("7", 8)]
    assert again.lines == []
    (began,) = of_kind(again.events, SeriesBegan)
    assert not began.brings_start  # what is on record stays
    assert began.lacks == ("mask",)


@pytest.mark.parametrize(
    "state",
    [
        {"ended": True},
        {"numbers": range(50)},
        {"protocol": "v2"},
        {"last_received": time.time() - 1e6},
    ],
)
def test_after_a_restart_of_ours_frames_of_another_series_are_new(state):
    again = Talk("v1", earlier(line_of(**state))).hear(*images(*range(10, 60)), end())
    assert again.names == ["7 (2)"]
    assert again.duplicates == 0
    assert again.lacks("7 (2)") == ("start",)


def test_a_series_that_a_restart_of_ours_cut_off_ends_with_the_next_one(unique_id):
    old, new = (ID, "01HXANOTHER") if unique_id else ("7", None)
    accounting = earlier(line_of(old, protocol="v2", expected=9))
    again = Talk("v2", accounting)
    again.hear(start(8, unique_id=new), *images(0, number=8, unique_id=new))
    assert not accounting.line(old).ended
    again.hear(end(8, unique_id=new))
    assert accounting.line(old).ended
    assert accounting.line(old).missed == 4


def test_what_another_detector_may_go_on_with_is_not_ended():
    accounting = earlier(line_of("7", numbers=range(5)))
    again = Talk("v1", accounting)
    again.hear(start(3), sender=5)
    again.hear(start(4), *images(0, number=4), end(4), sender=9)
    again.hear(*images(5), sender=5)
    assert again.numbers("7") == [5]


def test_after_a_restart_of_ours_two_detectors_go_on_with_their_series():
    accounting = earlier(line_of(numbers=range(10)), line_of("7 (2)", numbers=range(20)))
    again = Talk("v1", accounting)
    again.hear(*images(21), sender=5)
    again.hear(*images(11), sender=9)
    assert again.new == [("7 (2)", 21), ("7", 11)]


def test_after_a_restart_of_ours_the_last_series_goes_on_not_an_older_one_without_an_end():
    now = time.time()
    old = line_of(numbers=range(40), last_received=now - 60)
    accounting = earlier(old, line_of("7 (2)", numbers=range(10), last_received=now - 9))
    assert Talk("v1", accounting).hear(*images(41)).new == [("7 (2)", 41)]


def test_after_a_restart_of_ours_a_start_begins_another_series(talk):
    again = Talk(talk.protocol, earlier(line_of(protocol=talk.protocol)))
    again.hear(start(), *images(5, 6))
    assert again.names == ["7 (2)"]
    assert again.lacks("7 (2)") == ()


def test_a_late_start_goes_on_over_a_wild_frame_number(talk):
    talk.hear(*images(0, 1, 999_999_999), start(), *images(2, 3))
    assert talk.names == ["7"]
    assert talk.accounting.missed == 0


def test_thousands_of_series_are_no_burden():
    talk = Talk()
    messages = ([start(number), *images(0, number=number), end(number)] for number in range(3000))
    talk.hear(*chain.from_iterable(messages))
    assert len(talk.names) == 3000
    assert len(talk.conversation._numbered) <= 1000


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_two_senders_at_one_socket_have_series_of_their_own(protocol):
    listener = StreamSource("bind:tcp://127.0.0.1:*")
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as one,
        context.socket(zmq.PUSH) as two,
    ):
        for number in range(5):
            for socket, offset in ((one, 0), (two, 10)):
                if number == 0:
                    socket.connect(listener.address)
                counts = counts_of(number + offset)
                parts = encode_image(number, counts, start=start(), protocol=protocol)
                socket.send_multipart([parts] if isinstance(parts, bytes) else parts)
        events = heard(listener, lambda found: len(of_kind(found, Arrival)) == 10)
    found = {}
    for frame in frames(events):
        found.setdefault(frame.file, []).append(frame)
    assert sorted(found) == ["7", "7 (2)"]
    for series in found.values():
        offset = 0 if np.array_equal(series[0].counts, counts_of(0)) else 10
        assert [frame.index for frame in series] == list(range(5))
        for frame in series:
            np.testing.assert_array_equal(frame.counts, counts_of(frame.index + offset))


def test_a_detector_that_comes_back_over_a_new_connection_has_another_series():
    with StreamSender("tcp://127.0.0.1:*", protocol="v1") as speaker:
        address = speaker.address
        listener = StreamSource(address)
        events = listener.events()
        assert speaker.wait(5)
        speaker.send(encode_image(0, counts_of(0), start=start(), protocol="v1"))
        speaker.send(encode_image(1, counts_of(1), start=start(), protocol="v1"))
        first = heard(events, lambda found: len(of_kind(found, Arrival)) == 2)
    heard(events, troubles)
    with StreamSender(address, protocol="v1") as speaker:
        assert speaker.wait(5)
        speaker.send(encode_image(1, counts_of(5), start=start(), protocol="v1"))
        then = heard(events, lambda found: bool(of_kind(found, Arrival)))
    listener.close()
    assert {arrival.series for arrival in of_kind(first, Arrival)} == {"7"}
    assert [arrival.series for arrival in of_kind(then, Arrival)] == ["7 (2)"]
    assert any(isinstance(event, Trouble) for event in then)


NUMBERS = st.sampled_from([0, 1, 2, 3, 7, 500, 10**9])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "image", "image", "image", "end", "lost", "restart"]),
        st.sampled_from([1, 2]),  # the detector's number of the series
        NUMBERS,
        st.sampled_from([None, None, ID]),
        st.sampled_from([5, 9]),  # sender
        st.sampled_from(["v1", "v2"]),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_comes_each_image_is_passed_on_once_in_a_series_that_has_begun(steps):
    talk = Talk()
    kinds = {}
    for what, number, image, unique_id, sender, protocol in steps:
        of = {"number": number, "unique_id": unique_id if protocol == "v2" else None}
        heard_before = len(talk.events)
        match what:
            case "start":
                talk.hear(start(**of), sender=sender, protocol=protocol)
            case "image":
                talk.hear(*images(image, **of), sender=sender, protocol=protocol)
            case "end":
                talk.hear(end(**of), sender=sender, protocol=protocol)
            case "lost":
                talk.conversation.lost(sender)
            case "restart":
                talk = Talk(accounting=talk.accounting)
                heard_before = 0
        said = talk.events[heard_before:]
        arrivals = of_kind(said, Arrival)
        assert [arrival.number for arrival in arrivals] == ([image] if what == "image" else [])
        assert all(arrival.series in talk.accounting for arrival in arrivals)
        for began in of_kind(said, SeriesBegan):
            assert kinds.setdefault(began.series, began.kind) == began.kind
        assert all(ended.series in talk.accounting for ended in of_kind(said, SeriesEnded))


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.booleans(), st.booleans()), max_size=8
    ),
    st.booleans(),
)
def test_no_frame_of_a_restarted_detector_is_a_duplicate(lives, program_too):
    """Each life of a detector sends series of some images; starts and ends may be missed."""
    talk, sent = Talk(), 0
    for many, count, with_start, with_end in lives:
        talk.conversation.lost(0)
        if program_too:
            talk = Talk(accounting=talk.accounting)
        for number in range(1, many + 1):
            talk.hear(*([start(number)] if with_start else []))
            talk.hear(*images(*range(count), number=number))
            talk.hear(*([end(number)] if with_end else []))
            sent += count
        assert talk.duplicates == 0
    assert talk.accounting.received == sent
