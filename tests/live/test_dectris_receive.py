"""A real socket between a speaker and a listener, in both protocols."""

import socket
import time

import cbor2
import numpy as np
import pytest
import zmq

from deepfreak.errors import FrameError, InputError
from deepfreak.formats.measured import missing_by_reason
from deepfreak.formats.options import ReadSettings
from deepfreak.live.messages import Arrival, SeriesBegan, SeriesEnded
from deepfreak.live.receive.decoders import Decoders
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.decode import decoder
from deepfreak.live.receive.dectris.sender import StreamSender, encode_image, encode_pixels
from deepfreak.live.receive.dectris.stream import StreamSource
from deepfreak.live.receive.frame_accounting import FrameAccounting, NumberSet, SeriesState
from tests.live.detectors import (
    a_start,
    connected,
    counts_of,
    ends,
    frames,
    heard,
    of_kind,
    troubles,
)


def whole_series(speaker: StreamSender, start=None, *, dtype: str = "<u2", images: int = 3) -> None:
    assert speaker.start(start or a_start(), within_s=5)
    for number in range(images):
        assert speaker.image(number, counts_of(number, dtype), truth={"label": "good", "ice": 0.5})
    assert speaker.end()


@pytest.mark.parametrize("protocol", ["v2", "v1"])
@pytest.mark.parametrize("compression", ["none", "bslz4", "lz4"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<u4", ">u4", "u1"])
def test_images_arrive_as_they_were_sent(protocol: str, compression: str, dtype: str) -> None:
    with connected(protocol=protocol, compression=compression) as (speaker, listener):
        whole_series(speaker, dtype=dtype)
        events = heard(listener, ends())
    assert not troubles(events)
    began, *arrivals, ended = events
    assert isinstance(began, SeriesBegan)
    assert isinstance(ended, SeriesEnded)
    assert began.expected == 3
    assert began.series == ended.series == ("01HXAMPLE" if protocol == "v2" else "7")
    assert [arrival.number for arrival in arrivals] == [0, 1, 2]
    for arrival in arrivals:
        assert arrival.truth == {"label": "good", "ice": 0.5}
        assert 0 <= arrival.received - arrival.sent < 30
    for number, frame in enumerate(frames(events)):
        np.testing.assert_array_equal(frame.counts, counts_of(number, dtype))
        assert frame.counts.dtype.isnative
        assert frame.index == number
        assert frame.file == began.series


@pytest.mark.parametrize("protocol", ["v2", "v1"])
def test_frames_know_what_the_start_said(protocol: str) -> None:
    start = a_start(simulated=True)
    start.metadata.update(pedestal=10.0, gain=1.5)
    with connected(protocol=protocol) as (speaker, listener):
        whole_series(speaker, start)
        events = heard(listener, ends())
    frame = frames(events)[0]
    assert frame.saturation == 5000
    assert frame.beam_center_px == (11.5, 20.25)
    assert frame.pixel_size_mm == pytest.approx(0.075)
    assert frame.distance_mm == pytest.approx(120)
    assert frame.wavelength_A == 1.25
    assert (frame.pedestal, frame.gain, frame.simulated) == (10, 1.5, True)
    (mask,) = start.masks.values()
    np.testing.assert_array_equal(frame.valid, ~mask)
    metadata = of_kind(events, SeriesBegan)[0].metadata
    assert metadata["detector"] == "EIGER2 X"
    assert metadata["pixels"] == [24, 40]
    assert metadata["masked_pixels"] == 4
    assert metadata["count_time_s"] == 0.01


@pytest.mark.parametrize("dtype", ["<u2", ">u4", "u1"])
def test_the_largest_value_is_no_measurement(dtype: str) -> None:
    counts = counts_of(1, dtype)
    counts[9, 9] = np.iinfo(counts.dtype).max
    start = a_start(masks={})
    read = decoder("dectris-v2", b"", series="s")
    frame = read(encode_image(0, counts, start=start), 0)
    assert not frame.valid[9, 9]
    assert frame.valid.sum() == counts.size - 1
    (missing,) = missing_by_reason(frame.counts, counting=True).values()
    np.testing.assert_array_equal(frame.valid, ~missing)
    assert frame.gain == 1.0


def test_what_is_given_by_hand_counts_for_a_stream_too(tmp_path) -> None:
    start = a_start()
    mask = np.zeros(counts_of(0).shape, dtype=np.uint8)
    mask[2] = 1
    np.save(tmp_path / "m.npy", mask)
    reading = ReadSettings(mask=tmp_path / "m.npy", gain=2.5, pedestal=3.0)
    decoders = Decoders(reading=reading)
    context = cbor_v2.encode_start(start)
    decoders.begin(SeriesBegan(series="s", kind="dectris-v2", context=context, expected=1))
    frame = decoders.frame("s", encode_image(0, counts_of(0), start=start), 0)
    (own,) = start.masks.values()
    np.testing.assert_array_equal(frame.valid, ~own & (mask == 0))
    assert (frame.gain, frame.pedestal) == (2.5, 3.0)


def test_the_detectors_mask_decides_over_the_value() -> None:
    counts = counts_of(1, "<u2")
    counts[9, 9] = counts[3, 3] = 65535
    mask = np.zeros(counts.shape, dtype=bool)
    mask[3, 3] = True
    start = a_start(masks={"threshold_1": mask}, channels=("threshold_1",))
    read = decoder("dectris-v2", cbor_v2.encode_start(start), series="s")
    frame = read(encode_image(0, counts, start=start), 0)
    assert frame.valid[9, 9]  # an overload
    assert not frame.valid[3, 3]


def test_a_difference_of_thresholds_may_be_negative() -> None:
    counts = counts_of(1, "<i4") - 5
    read = decoder("dectris-v2", b"", series="s")
    assert read(encode_image(0, counts, start=a_start()), 0).valid.all()


def test_the_first_announced_channel_is_taken_or_the_one_named() -> None:
    start = a_start(channels=("threshold_2", "threshold_1"))
    images = {"threshold_1": counts_of(1), "threshold_2": counts_of(2)}
    with connected() as (speaker, listener):
        speaker.start(start)
        speaker.image(0, images)
        speaker.end()
        events = heard(listener, ends())
    np.testing.assert_array_equal(frames(events)[0].counts, counts_of(2))
    assert frames(events)[0].valid.all()  # the mask is the other channel's
    (named,) = frames(events, channel="threshold_1")
    np.testing.assert_array_equal(named.counts, counts_of(1))
    assert not named.valid.all()
    with pytest.raises(FrameError, match="threshold_3"):
        frames(events, channel="threshold_3")


@pytest.mark.parametrize("protocol", ["v2", "v1"])
def test_a_missed_start_is_made_up_for(protocol: str) -> None:
    speaking = a_start()
    with connected(protocol=protocol) as (speaker, listener):
        assert speaker.send(encode_image(5, counts_of(5), start=speaking, protocol=protocol))
        assert speaker.send(encode_image(6, counts_of(6), start=speaking, protocol=protocol))
        events = heard(listener, lambda found: len(of_kind(found, Arrival)) == 2)
    (began,) = of_kind(events, SeriesBegan)
    assert began.expected is None
    assert began.lacks == ("start",)
    (line,) = troubles(events)
    assert line.startswith(f"series {began.series}: its start was missed; classified without")
    np.testing.assert_array_equal(frames(events)[1].counts, counts_of(6))


def test_a_detector_restarted_in_mid_series_begins_a_new_one() -> None:
    with connected() as (speaker, listener):
        speaker.start(a_start())
        speaker.image(0, counts_of(0))
        whole_series(speaker, a_start(unique_id="01HXANOTHER"))
        events = heard(listener, ends())
    numbers = [(event.series, event.number) for event in of_kind(events, Arrival)]
    assert numbers == [("01HXAMPLE", 0), *(("01HXANOTHER", number) for number in range(3))]


def rolled(*names: str) -> FrameAccounting:
    """What an earlier run received: the last series is open, those before it have ended."""
    accounting = FrameAccounting()
    for name in names:
        ended = name != names[-1]
        accounting.restore(
            SeriesState(series=name, kind="dectris-v1", ended=ended, seen=NumberSet(range(5)))
        )
    return accounting


def test_numbers_of_series_that_come_again_get_new_names() -> None:
    with StreamSender("tcp://127.0.0.1:*", protocol="v1") as speaker:
        listener = StreamSource(speaker.address)
        listener.resume(rolled("7", "7 (2)"))
        whole_series(speaker)
        speaker.start(a_start())
        speaker.image(0, counts_of(0))
        whole_series(speaker)
        events = heard(listener, ends(3))
    names = [event.series for event in of_kind(events, SeriesBegan)]
    assert names == ["7 (3)", "7 (4)", "7 (5)"]
    assert [event.series for event in of_kind(events, Arrival)].count("7 (4)") == 1


def test_after_a_restart_of_ours_a_numbered_series_goes_on() -> None:
    with StreamSender("tcp://127.0.0.1:*", protocol="v1") as speaker:
        listener = StreamSource(speaker.address)
        listener.resume(rolled("7", "7 (2)"))
        assert speaker.wait(5)
        speaker.send(encode_image(8, counts_of(8), start=a_start(), protocol="v1"))
        speaker.send(json_v1.encode_end(a_start()))
        speaker.send(encode_image(0, counts_of(0), start=a_start(), protocol="v1"))
        events = heard(listener, lambda found: len(of_kind(found, Arrival)) == 2)
    assert [event.series for event in of_kind(events, Arrival)] == ["7 (2)", "7 (3)"]


def test_the_same_image_twice_is_passed_on_twice() -> None:
    with connected() as (speaker, listener):
        speaker.start(a_start())
        for number in (0, 1, 1, 2):
            speaker.image(number, counts_of(number))
        speaker.end()
        events = heard(listener, ends())
    assert [event.number for event in of_kind(events, Arrival)] == [0, 1, 1, 2]


HOSTILE = [
    [b""],
    [b"\xff" * 50],
    [b"{"],
    [b"{" * 5000],
    [b'{"htype":"dimage-1.0","series":7}'],
    [b'{"htype":"dheader-1.0","series":-1,"header_detail":"none"}'],
    [b'{"htype":"dseries_end-1.0","series":1e999}'],
    [b"x"] * 100,
    [cbor2.dumps({"type": "image", "series_id": 7, "image_id": -1})],
    [cbor2.dumps({"type": "image", "series_id": 7, "image_id": 2**63})],
    [cbor2.dumps({"type": "start", "series_id": 7, "series_unique_id": "../../etc/passwd"})],
    [cbor2.dumps({"type": "start", "series_id": 7, "series_unique_id": "<script>alert(1)"})],
    [cbor2.dumps({"type": "start\nForged: line"})],
    [bytes.fromhex("d81c81d81d00")],
]


@pytest.mark.parametrize("protocol", ["v2", "v1"])
def test_hostile_messages_between_good_ones_do_not_disturb_these(protocol: str) -> None:
    with connected(protocol=protocol) as (speaker, listener):
        speaker.start(a_start())
        for number in range(3):
            for parts in HOSTILE:
                assert speaker.send(parts)
            speaker.image(number, counts_of(number))
        speaker.end()
        events = heard(listener, ends())
    assert len(troubles(events)) == 3 * len(HOSTILE)
    for line in troubles(events):
        assert "\n" not in line
        assert len(line) < 300
    for number, frame in enumerate(frames(events)):
        np.testing.assert_array_equal(frame.counts, counts_of(number))
    assert len(of_kind(events, SeriesBegan)) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"truth": "good"},
        {"truth": {"label": "x" * 1000}},
        {"truth": {"label": ["good"]}},
        {"truth": {str(number): number for number in range(1000)}},
        {"sent": float("nan")},
        {"sent": "now"},
        {"sent": -1.0},
        "deepfreak",
        [],
    ],
)
def test_what_is_said_of_an_image_is_believed_only_in_its_form(said: object) -> None:
    with connected() as (speaker, listener):
        message = {"type": "image", "series_id": 1, "image_id": 0, "data": {}}
        speaker.send(cbor2.dumps(message | {"user_data": {"deepfreak": said}}))
        events = heard(listener, lambda found: bool(of_kind(found, Arrival)))
    (arrival,) = of_kind(events, Arrival)
    assert arrival.truth is None
    assert arrival.sent is None


def test_a_lost_connection_is_told_and_made_again() -> None:
    speaker = StreamSender("tcp://127.0.0.1:*")
    address = speaker.address
    listener = StreamSource(address)
    try:
        whole_series(speaker)
        events = listener.events()
        heard(events, ends())
        speaker.close()
        first = heard(events, troubles)
        speaker = StreamSender(address)
        whole_series(speaker, a_start(unique_id="02"))
        then = heard(events, ends())
        assert troubles(first) == [f"connection lost with {address}"]
        assert troubles(then) == [f"connected again with {address}"]
        assert len(of_kind(then, Arrival)) == 3
    finally:
        listener.close()
        speaker.close()


def test_a_message_too_large_for_any_detector_costs_only_itself() -> None:
    with connected(max_message=100_000) as (speaker, listener):
        speaker.send(bytes(200_000))
        events = listener.events()
        assert troubles(heard(events, troubles)) == [f"connection lost with {speaker.address}"]
        assert troubles(heard(events, troubles)) == [f"connected again with {speaker.address}"]
        whole_series(speaker)
        after = heard(events, ends())
    assert len(of_kind(after, Arrival)) == 3


def test_it_can_wait_for_a_detector_that_connects() -> None:
    listener = StreamSource("bind:tcp://127.0.0.1:*")
    with zmq.Context() as context, context.socket(zmq.PUSH) as good:
        good.connect(listener.address)
        good.send(encode_image(0, counts_of(0), start=a_start()))
        events = heard(listener, lambda found: bool(of_kind(found, Arrival)))
    np.testing.assert_array_equal(frames(events)[0].counts, counts_of(0))


def test_who_stalls_or_speaks_another_language_holds_nobody_up() -> None:
    listener = StreamSource("bind:tcp://127.0.0.1:*")
    host, port = listener.address.removeprefix("tcp://").split(":")
    with (
        socket.create_connection((host, int(port))) as stalling,
        socket.create_connection((host, int(port))) as foreign,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as good,
    ):
        stalling.sendall(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03")  # the beginning of a greeting
        foreign.sendall(b"GET / HTTP/1.1\r\n\r\n")
        good.connect(listener.address)
        good.send(encode_image(0, counts_of(0), start=a_start()))
        events = heard(listener, lambda found: bool(of_kind(found, Arrival)))
    np.testing.assert_array_equal(frames(events)[0].counts, counts_of(0))


def test_a_series_of_stream_v2_without_a_name_has_its_number() -> None:
    with connected() as (speaker, listener):
        whole_series(speaker, a_start(unique_id=None))
        whole_series(speaker, a_start(unique_id=None))
        events = heard(listener, ends(2))
    assert [event.series for event in of_kind(events, SeriesEnded)] == ["7", "7 (2)"]


def test_silence_is_ticked_and_a_missing_detector_is_reported_once() -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as nobody:
        port = nobody.bind_to_random_port("tcp://127.0.0.1")
    listener = StreamSource(f"tcp://127.0.0.1:{port}", answer_s=0.15)
    events = listener.events()
    start = time.monotonic()
    ticks = [next(events) for _ in range(5)]
    assert time.monotonic() - start < 3
    events.close()
    assert len([tick for tick in ticks if tick is not None]) == 1
    assert listener._socket.closed


def test_a_detector_drops_what_nobody_takes() -> None:
    with StreamSender("tcp://127.0.0.1:*", high_water=2) as speaker:
        assert not speaker.start(a_start())
        assert not speaker.image(0, counts_of(0))


def test_pixels_compressed_before_are_sent_under_any_number() -> None:
    pixels = encode_pixels(counts_of(1))
    with connected() as (speaker, listener):
        speaker.start(a_start())
        for number in range(20):
            assert speaker.image(number, pixels)
        speaker.end()
        events = heard(listener, ends())
    assert [frame.index for frame in frames(events)] == list(range(20))


@pytest.mark.parametrize(
    "address", ["", "tcp://", "ipc://x", "tcp://a:b", "bind:udp://x:1", "tcp://h:1\n", "h:1"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="expected an address"):
        StreamSource(address)


def test_an_address_in_use_is_refused() -> None:
    with StreamSender("tcp://127.0.0.1:*") as speaker:
        with pytest.raises(InputError, match="expected"):
            StreamSource(f"bind:{speaker.address}")
        with pytest.raises(InputError, match="expected"):
            StreamSender(speaker.address)


def test_an_image_of_another_size_than_announced_is_refused() -> None:
    with connected() as (speaker, listener):
        speaker.start(a_start())
        speaker.image(0, counts_of(0)[:-1])
        speaker.end()
        events = heard(listener, ends())
    with pytest.raises(FrameError, match="23"):
        frames(events)
