"""Invalid messages: each gives an event or one line with the reason."""

import json
import os
import resource
import time
import tracemalloc
from collections.abc import Iterator
from unittest import mock

import cbor2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfreak.errors import FrameError
from deepfreak.live.messages import Arrival, SeriesBegan, SeriesEnded
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.decode import decoder
from deepfreak.live.receive.dectris.sender import encode_image
from deepfreak.live.receive.dectris.stream import StreamSource
from tests.live.detectors import a_start, counts_of

SECONDS = float(os.environ.get("DEEPFREAK_FUZZ_SECONDS", "180"))
MAX_LINE_LENGTH = 500

START = a_start(channels=("threshold_1", "threshold_2"))
PIXELS = {"threshold_1": counts_of(1, "<u2"), "threshold_2": counts_of(2, ">u4")}
V2 = {
    "start": cbor_v2.encode_start(START),
    "image": encode_image(1, PIXELS, start=START, truth={"label": "good"}, sent=1.0),
    "plain image": encode_image(1, PIXELS, start=START, compression="none"),
    "lz4 image": encode_image(1, PIXELS, start=START, compression="lz4"),
    "end": cbor_v2.encode_end(START),
}
V1 = {
    "start": json_v1.encode_start(a_start()),
    "image": encode_image(1, counts_of(1), start=START, protocol="v1", truth={"label": "x"}),
    "plain image": encode_image(1, counts_of(1), start=START, protocol="v1", compression="none"),
    "lz4 image": encode_image(1, counts_of(1), start=START, protocol="v1", compression="lz4"),
    "end": json_v1.encode_end(START),
}

numbers = st.sampled_from(
    [-1, 0, 1, 2, 3, 8, 40, 255, 4096, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
)
TAGS = [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 40, 256, 258, 260, 1040, 55799, 56500]
leaves = (
    st.none()
    | st.booleans()
    | numbers
    | st.floats()
    | st.sampled_from(
        ["", "image", "start", "bslz4", "lz4", "uint32", "../x", "<b>", "a\nb", "(a+)+$"]
    )
    | st.binary(max_size=40)
)
items = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "data", "a", "threshold_1"]), inner, max_size=3)
        | st.builds(cbor2.CBORTag, st.sampled_from([*TAGS, *range(64, 88)]), inner)
    ),
    max_leaves=8,
)


class Ear:
    """A listener without a socket, and a decoder behind it."""

    def __init__(self) -> None:
        with mock.patch("zmq.Context"):
            self.listener = StreamSource("bind:tcp://127.0.0.1:1")
        self.contexts: dict[str, SeriesBegan] = {}

    def hear(self, parts: list[bytes]) -> str:
        """Return the result of a message; fail on a result that is not allowed."""
        try:
            views = [memoryview(part) for part in parts]
            events = self.listener._understood(views, 1.0, 1.0, sender=0)
        except FrameError as error:
            require_one_line(str(error))
            return "trouble"
        outcome = "nothing"
        for event in events:
            match event:
                case SeriesBegan():
                    self.contexts[event.series] = event
                    json.dumps(dict(event.metadata), allow_nan=False)
                    assert len(event.context) < 64 << 20
                    outcome = self.decoded(event, V2["image"], 0)
                case Arrival():
                    assert 0 <= event.number < 2**31
                    json.dumps(event.truth, allow_nan=False)
                    outcome = self.decoded(self.contexts[event.series], event.payload, event.number)
                case SeriesEnded():
                    outcome = "ended"
        return outcome

    def decoded(self, began: SeriesBegan, payload: bytes | memoryview, number: int) -> str:
        try:
            frame = decoder(began.kind, began.context, series=began.series)(payload, number)
        except FrameError as error:
            require_one_line(str(error))
            return "unreadable"
        assert frame.counts.ndim == 2
        assert frame.counts.shape == frame.valid.shape
        assert frame.counts.dtype.kind in "iuf"
        assert frame.counts.dtype.isnative
        assert frame.valid.dtype == np.bool_
        return "frame"


def require_one_line(line: str) -> None:
    assert line.isprintable()
    assert "/" not in line
    assert len(line) < MAX_LINE_LENGTH


@st.composite
def damaged(draw: st.DrawFn, message: bytes) -> bytes:
    """`message` with bytes changed, removed, inserted or cut off."""
    data = bytearray(message)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["flip", "number", "cut", "drop", "twice"])):
            case "flip":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                size = draw(st.sampled_from([1, 2, 4, 8]))
                value = draw(numbers) % (1 << (8 * size))
                data[at : at + size] = value.to_bytes(size, "big")
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 20))]
            case "twice":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


def replaced(draw: st.DrawFn, value: object, other: st.SearchStrategy, depth: int = 0) -> object:
    """`value` with something else in one of its places."""
    if depth and draw(st.integers(0, 2)) == 0:
        return draw(other)
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        return value | {key: replaced(draw, value[key], other, depth + 1)}
    if isinstance(value, list) and value:
        at = draw(st.integers(0, len(value) - 1))
        inner = replaced(draw, value[at], other, depth + 1)
        return [*value[:at], inner, *value[at + 1 :]]
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, replaced(draw, value.value, other, depth + 1))
    return draw(other)


@st.composite
def untrue_v2(draw: st.DrawFn) -> list[bytes]:
    message = V2[draw(st.sampled_from(sorted(V2)))]
    if draw(st.booleans()):
        return [draw(damaged(message))]
    # the writer's own decoder keeps tags that it does not know
    known = cbor2.loads(message[3:])
    value = replaced(draw, known, items)
    return [cbor2.dumps(value)]


json_items = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["", "uint32", "float32", "bs32-lz4<", "lz4>", "bs8<", "dimage-1.0", "../x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.just("a"), inner, max_size=2),
    max_leaves=6,
)


@st.composite
def untrue_v1(draw: st.DrawFn) -> list[bytes]:
    parts = list(V1[draw(st.sampled_from(sorted(V1)))])
    at = draw(st.integers(0, len(parts) - 1))
    match draw(st.sampled_from(["bytes", "json", "json", "drop", "twice", "swap"])):
        case "bytes":
            parts[at] = draw(damaged(parts[at]))
        case "json":
            if parts[at].startswith(b"{"):
                parts[at] = json.dumps(replaced(draw, json.loads(parts[at]), json_items)).encode()
        case "drop":
            del parts[at]
        case "twice":
            parts[at:at] = [parts[at]] * draw(st.integers(1, 20))
        case "swap":
            parts[0], parts[at] = parts[at], parts[0]
    return parts or [b""]


quick = settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@given(untrue_v2())
@quick
def test_whatever_stream_v2_says_something_sensible_comes_of_it(parts: list[bytes]) -> None:
    Ear().hear(parts)


@given(untrue_v1())
@quick
def test_whatever_stream_v1_says_something_sensible_comes_of_it(parts: list[bytes]) -> None:
    Ear().hear(parts)


@given(st.binary(max_size=200) | st.builds(cbor2.dumps, items))
@settings(max_examples=60, derandomize=True)
def test_noise_is_no_message(noise: bytes) -> None:
    assert Ear().hear([noise]) == "trouble"


@pytest.mark.parametrize("name", sorted(V2))
def test_the_messages_that_are_damaged_here_are_sound(name: str) -> None:
    sound = {"start": "frame", "end": "ended"}.get(name, "frame")
    assert Ear().hear([V2[name]]) == sound
    assert Ear().hear(V1[name]) == {"start": "unreadable"}.get(name, sound)


def typed(shape: list[int], tag: int, data: object) -> cbor2.CBORTag:
    return cbor2.CBORTag(40, [shape, cbor2.CBORTag(tag, data)])


def bslz4(claimed: int, block: int = 8192, rest: bytes = b"") -> cbor2.CBORTag:
    header = claimed.to_bytes(8, "big") + block.to_bytes(4, "big")
    return cbor2.CBORTag(56500, ["bslz4", 2, header + rest])


LIES = {
    "2 GB of bslz4 in 12 bytes": typed([32768, 32768], 69, bslz4(2 << 30)),
    "64 Mpx in 12 bytes": typed([8192, 8192], 69, bslz4(2 << 26)),
    "64 Mpx in 1 MB": typed([8192, 8192], 71, bslz4(8 << 26, rest=b"\0" * (1 << 20))),
    "dimensions whose product overflows": typed([1 << 33, 1 << 33], 69, b""),
    "negative dimensions": typed([-24, -40], 69, bytes(1920)),
    "no dimensions": typed([], 69, bytes(1920)),
    "three dimensions": typed([1, 24, 40], 69, bytes(1920)),
    "zero": typed([0, 40], 69, b""),
    "fewer bytes": typed([24, 40], 69, bytes(1919)),
    "more bytes": typed([24, 40], 69, bytes(1921)),
    "another type": typed([24, 40], 70, bytes(1920)),
    "16 byte floats": typed([24, 40], 87, bytes(24 * 40 * 16)),
    "a tag that is reserved": typed([24, 40], 76, bytes(960)),
    "text for bytes": typed([24, 40], 69, "x" * 1920),
    "an array of arrays": cbor2.CBORTag(40, [[24, 40], [0] * 960]),
    "compressed twice": typed([24, 40], 69, cbor2.CBORTag(56500, ["bslz4", 2, bslz4(1920)])),
    "another compression": typed([24, 40], 69, cbor2.CBORTag(56500, ["gzip", 0, b"x" * 99])),
    "nothing": None,
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_lies_about_pixels_cost_no_memory_and_only_their_own_frame(lie: str) -> None:
    message = {"type": "image", "series_id": 1, "image_id": 0, "data": {"threshold_1": LIES[lie]}}
    ear, payload = Ear(), cbor2.dumps(message)
    tracemalloc.start()
    assert ear.hear([payload]) == "unreadable"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_masks_of_too_many_pixels_cost_no_memory() -> None:
    zeros = cbor_v2.encode_start(
        a_start(shape=(4096, 4096), masks={"a": np.zeros((4096, 4096), dtype=np.bool_)}),
        mask_dtype="u1",
    )
    message = cbor2.loads(zeros[3:])
    message["pixel_mask"] = dict.fromkeys("abcdefghij", message["pixel_mask"]["a"])
    payload = cbor2.dumps(message)
    assert len(payload) < 2 << 20
    ear = Ear()
    tracemalloc.start()
    ear.hear([payload])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    (began,) = ear.contexts.values()
    assert began.lacks == ("mask",)


def until(deadline: float) -> Iterator[None]:
    while time.monotonic() < deadline:
        yield None


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["v2", "v1"])
def test_minutes_of_lies_end_in_events_within_time_and_memory(protocol: str) -> None:
    """`DEEPFREAK_FUZZ_SECONDS` tells how long each protocol is tried."""
    heard: dict[str, int] = {}
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ear = Ear()

    @given(untrue_v2() if protocol == "v2" else untrue_v1())
    @settings(
        max_examples=1500,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def listen(parts: list[bytes]) -> None:
        nonlocal slowest
        start = time.monotonic()
        outcome = ear.hear(parts)
        slowest = max(slowest, time.monotonic() - start)
        heard[outcome] = heard.get(outcome, 0) + 1

    for _ in until(time.monotonic() + SECONDS):
        listen()
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{protocol}: {heard}, slowest {slowest:.2f} s, {grown_kb / 1024:.0f} MB")  # noqa: T201
    assert heard["frame"]
    assert heard["trouble"]
    assert heard["unreadable"]
    assert slowest < 3
    assert grown_kb < 600 * 1024
