import contextlib
import struct
from dataclasses import replace

import msgpack
import numpy as np
import pytest
import zmq

from deepfreak.errors import InputError, OutputError
from deepfreak.live.sinks.crystfel_zmq import MAX_REQUEST_LENGTH, CrystFELSocket, pack_hit
from tests.live.examples import made_frame, made_hit, made_peaks

ANYWHERE = "tcp://127.0.0.1:*"


@contextlib.contextmanager
def socket_of(kind, **options):
    sink = CrystFELSocket(ANYWHERE, kind=kind, **options)
    try:
        yield sink
    finally:
        sink.close()


@contextlib.contextmanager
def crystfel(address, *, subscribe=(), kind=zmq.SUB, most=1000):
    """Yield a socket as im-zmq.c of CrystFEL makes it."""
    context = zmq.Context()
    socket = context.socket(kind)
    socket.setsockopt(zmq.RCVHWM, most)
    socket.connect(address)
    socket.setsockopt(zmq.RCVTIMEO, 3000)
    socket.setsockopt(zmq.LINGER, 0)
    for topic in subscribe:
        socket.setsockopt_string(zmq.SUBSCRIBE, topic)
    try:
        yield socket
    finally:
        context.destroy(linger=0)


def fetch(socket):
    """Return the next frame as indexamajig.c does: each part by itself, those of 15 bytes not."""
    while True:
        part = socket.recv()
        if len(part) > 15:
            return part


def find(map_, key):
    """Return the value that CrystFEL's `find_msgpack_kv` finds: it compares beginnings."""
    for name, value in map_.items():
        if key.encode().startswith(name if isinstance(name, bytes) else name.encode()):
            return value
    raise KeyError(key)


def wait_for_reader(sink, hit):
    """Offer a frame until a reader has taken it."""
    poller = zmq.Poller()
    poller.register(sink._socket, zmq.POLLIN)
    while not sink.sent:
        assert poller.poll(3000)
        sink.keep(hit)
        sink.answer()


def test_a_message_holds_what_crystfel_looks_for():
    message = msgpack.unpackb(pack_hit(made_hit(5)))
    data = find(message, "detector_data")
    assert find(data, "type") == "<f4"
    assert find(data, "shape") == [40, 64]
    image = np.frombuffer(find(data, "data"), "<f4").reshape(40, 64)
    frame = made_frame(5)
    np.testing.assert_array_equal(image[frame.valid], frame.counts[frame.valid])
    assert np.isnan(image[~frame.valid]).all()
    assert find(message, "beam_energy") == pytest.approx(12398.42 / 1.005)
    assert find(message, "detector_distance") == 120.0
    assert find(message, "event_id") == "run-1//5"
    assert find(message, "timestamp") == 1.7e9 + 0.005


def test_the_centre_of_a_pixel_is_a_whole_number_as_crystfel_adds_the_half():
    peaks = find(msgpack.unpackb(pack_hit(made_hit(2))), "peak_list")
    assert peaks == {
        "num_peaks": 3,
        "fs": [9.0, 9.5, 10.0],
        "ss": [7.0, 8.0, 9.0],
        "intensity": [100.0, 101.0, 102.0],
    }


def test_every_number_of_a_peak_is_a_float_as_crystfel_takes_it_for_one():
    whole = made_peaks(0, count=300)
    packed = pack_hit(made_hit(0, peaks=whole))
    for value in (9.0, 7.0, 100.0):
        assert b"\xcb" + struct.pack(">d", value) in packed
    lists = msgpack.unpackb(packed)["peak_list"]
    for name in ("fs", "ss", "intensity"):
        assert {type(value) for value in lists[name]} == {float}


@pytest.mark.parametrize("decision", ["keep", "unsure"])
def test_a_message_says_whether_its_frame_is_unsure(decision):
    hit = made_hit(0)
    hit = replace(hit, outcome=replace(hit.outcome, decision=decision))
    assert msgpack.unpackb(pack_hit(hit))["decision"] == decision


def test_no_key_is_the_beginning_of_another():
    def check(map_):
        names = [name if isinstance(name, bytes) else name.encode() for name in map_]
        for name in names:
            assert [other for other in names if other.startswith(name)] == [name]
        for value in map_.values():
            if isinstance(value, dict):
                check(value)

    check(msgpack.unpackb(pack_hit(made_hit(0))))


def test_what_a_frame_does_not_say_is_left_out():
    bare = made_hit(0, wavelength_A=None, distance_mm=None, peaks=made_peaks(0, count=0))
    message = msgpack.unpackb(pack_hit(bare))
    assert "beam_energy" not in message
    assert "detector_distance" not in message
    assert message["peak_list"] == {"num_peaks": 0, "fs": [], "ss": [], "intensity": []}


@pytest.mark.parametrize("topic", ["deepfreak", "deep", ""])
def test_a_subscriber_gets_every_frame(topic):
    with (
        socket_of("publish") as sink,
        crystfel(sink.address, subscribe=[topic]) as reader,
    ):
        wait_for_reader(sink, made_hit(0))
        for number in range(1, 10):
            sink.keep(made_hit(number))
        found = [msgpack.unpackb(fetch(reader))["event_id"] for _ in range(10)]
        assert found == [f"run-1//{number}" for number in range(10)]
        assert sink.sent == 10


def test_a_subscriber_of_something_else_is_no_reader():
    with (
        socket_of("publish") as sink,
        crystfel(sink.address, subscribe=["other"]),
    ):
        assert sink._socket.poll(3000)
        sink.keep(made_hit(0))
        assert (sink.sent, sink.dropped) == (0, 1)


@pytest.mark.parametrize("kind", ["publish", "answer"])
def test_without_a_reader_frames_are_counted_and_not_even_decoded(kind):
    with socket_of(kind) as sink:
        for number in range(100):
            hit = made_hit(number)
            object.__setattr__(hit, "frame", lambda: pytest.fail("decoded"))
            sink.keep(hit)
        assert (sink.sent, sink.dropped) == (0, 100)


def test_a_reader_that_hangs_keeps_nobody_from_getting_frames():
    with (
        socket_of("publish", queue=2) as sink,
        crystfel(sink.address, subscribe=["deepfreak"], most=1),
    ):
        wait_for_reader(sink, made_hit(0))
        with crystfel(sink.address, subscribe=["deepfreak"]) as reader:
            assert sink._socket.poll(3000)
            number, after = 0, 0
            # megabytes, until the system's buffers are full too
            while after < 20 and number < 500:
                number += 1
                after += sink.dropped > 0
                sink.keep(made_hit(number, shape=(512, 512)))
                assert msgpack.unpackb(fetch(reader))["number"] == number
            assert sink.dropped > 0


def test_what_a_slow_reader_did_not_take_is_counted_exactly():
    with (
        socket_of("publish", queue=2) as sink,
        crystfel(sink.address, subscribe=["deepfreak"], most=1) as reader,
    ):
        wait_for_reader(sink, made_hit(0))
        number = 0
        while sink.dropped < 20 and number < 500:
            number += 1
            sink.keep(made_hit(number, shape=(512, 512)))
        assert sink.dropped == 20
        assert sink.sent + sink.dropped == number + 1
        found = [msgpack.unpackb(fetch(reader))["number"] for _ in range(sink.sent)]
        assert found == sorted(set(found))
        assert not reader.poll(50)


def test_a_reader_that_dies_is_a_reader_no_longer():
    with socket_of("publish") as sink:
        with crystfel(sink.address, subscribe=["deepfreak"]):
            wait_for_reader(sink, made_hit(0))
        assert sink._socket.poll(3000)
        before = sink.dropped
        sink.keep(made_hit(1))
        assert (sink.sent, sink.dropped) == (1, before + 1)


def test_each_asker_gets_frames_that_no_other_gets():
    with (
        socket_of("answer") as sink,
        crystfel(sink.address, kind=zmq.REQ) as one,
        crystfel(sink.address, kind=zmq.REQ) as other,
    ):
        found = []
        for number in range(0, 20, 2):
            for reader in (one, other):
                reader.send(b"next")
                assert sink._socket.poll(3000)
                sink.keep(made_hit(number if reader is one else number + 1))
            found += [msgpack.unpackb(fetch(reader))["number"] for reader in (one, other)]
        assert sorted(found) == list(range(20))
        assert (sink.sent, sink.dropped) == (20, 0)


def test_frames_wait_for_a_busy_asker_and_the_oldest_go_first_when_it_is_too_slow():
    with (
        socket_of("answer", queue=4) as sink,
        crystfel(sink.address, kind=zmq.REQ) as reader,
    ):
        reader.send(b"next")
        wait_for_reader(sink, made_hit(0))
        fetch(reader)
        for number in range(1, 11):
            sink.keep(made_hit(number))
        assert sink.dropped == 6
        found = []
        for _ in range(4):
            reader.send(b"next")
            assert sink._socket.poll(3000)
            sink.answer()
            found.append(msgpack.unpackb(fetch(reader))["number"])
        assert found == [7, 8, 9, 10]


def test_an_asker_that_died_does_not_swallow_a_frame():
    with (
        socket_of("answer") as sink,
        crystfel(sink.address, kind=zmq.REQ) as reader,
    ):
        with crystfel(sink.address, kind=zmq.REQ) as dying:
            dying.send(b"next")
            assert sink._socket.poll(3000)
            sink.answer()
        reader.send(b"next")
        assert sink._socket.poll(3000)
        sink.keep(made_hit(3))
        assert msgpack.unpackb(fetch(reader))["number"] == 3


def test_a_peer_that_asks_without_end_takes_no_frame_from_the_others():
    with (
        socket_of("answer") as sink,
        crystfel(sink.address, kind=zmq.DEALER) as flood,
        crystfel(sink.address, kind=zmq.REQ) as reader,
    ):
        for _ in range(3000):
            with contextlib.suppress(zmq.Again):
                flood.send_multipart([b"", b"next"], zmq.NOBLOCK)
        reader.send(b"next")
        # the reader's request comes behind those of the flood, which count as one
        for _ in range(50):
            sink.keep(made_hit(0))
            if reader.poll(20):
                break
        assert msgpack.unpackb(fetch(reader))["number"] == 0


@pytest.mark.parametrize(
    "parts", [[b"next"], [b"", b"", b""], [b"x" * 4000], [b""], [b"\x01" * 300]]
)
@pytest.mark.parametrize("kind", ["publish", "answer"])
def test_what_is_no_request_is_ignored(kind, parts):
    assert max(map(len, parts)) > MAX_REQUEST_LENGTH or len(parts) != 2
    with (
        socket_of(kind) as sink,
        crystfel(sink.address, kind=zmq.XSUB if kind == "publish" else zmq.DEALER) as peer,
    ):
        peer.send_multipart(parts)
        sink._socket.poll(100)
        sink.keep(made_hit(0))
        assert (sink.sent, sink.dropped) == (0, 1)


def test_what_cannot_work_is_refused_in_one_line():
    with pytest.raises(InputError, match="at most 15 bytes"):
        CrystFELSocket(ANYWHERE, kind="publish", topic="ondaframedata-and-more")
    with pytest.raises(InputError, match="at least 1 frame"):
        CrystFELSocket(ANYWHERE, kind="publish", queue=0)
    with pytest.raises(OutputError, match="expected such as"):
        CrystFELSocket("127.0.0.1:5002", kind="answer")
    with (
        socket_of("answer") as sink,
        pytest.raises(OutputError, match="cannot listen"),
    ):
        CrystFELSocket(sink.address, kind="answer")
