"""Invalid start messages: an unreadable field affects only itself."""

import base64
import json

import cbor2
import numpy as np
import pytest

from deepfreak.live.messages import SeriesBegan
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.decode import decoder
from deepfreak.live.receive.dectris.messages import Start
from deepfreak.live.receive.dectris.sender import encode_image
from deepfreak.live.receive.dectris.series import SeriesTracker
from tests.live.detectors import SHAPE, a_start, counts_of, of_kind, troubles

MASK = a_start().masks["threshold_1"]
NUMBERS = [
    -1, 2_000_000_000, 2**63, 1.5, "3", True, [3], {}, 10**400,
]  # fmt: skip


def v2_start(**changes: object) -> Start:
    """The start of `a_start` with other fields; a field that is Ellipsis is left out."""
    message = cbor2.loads(cbor_v2.encode_start(a_start())[3:])
    message = {name: value for name, value in (message | changes).items() if value is not ...}
    return cbor_v2.read_message(cbor2.dumps(cbor2.CBORTag(55799, message)))


def v1_start(about: dict | None = None, blob: bytes | None = None, **changes: object) -> Start:
    """The same for Stream V1; `about` and `blob` describe its mask."""
    header, config, mask, pixels = json_v1.encode_start(a_start())
    config = json.dumps(
        {key: value for key, value in (json.loads(config) | changes).items() if value is not ...}
    )
    mask = json.dumps(json.loads(mask) | (about or {}))
    return json_v1.read_message(
        [header, config.encode(), mask.encode(), pixels if blob is None else blob]
    )


def said_of(start: Start, protocol: str) -> tuple[list[str], SeriesBegan]:
    """The result of a conversation: problems, and the series as reported."""
    events = SeriesTracker().events(start, protocol, b"", received=1.0, since=1.0)
    (began,) = of_kind(events, SeriesBegan)
    return troubles(events), began


def frame_of(began: SeriesBegan, protocol: str, *, channel: str = "threshold_1"):
    start = a_start(channels=(channel,))
    image = encode_image(0, {channel: counts_of(0)}, start=start, protocol=protocol)
    payload = image if isinstance(image, bytes) else json_v1.join(image)
    return decoder(began.kind, began.context, series="s")(payload, 0)


def require_all_but_the_number(start: Start, protocol: str) -> None:
    assert start.expected is None
    lines, began = said_of(start, protocol)
    assert len(lines) == 1
    assert "its number of images cannot be read, treated as unknown" in lines[0]
    assert began.lacks == ()
    frame = frame_of(began, protocol)
    np.testing.assert_array_equal(frame.valid, ~MASK)
    assert (frame.saturation, frame.beam_center_px) == (5000, (11.5, 20.25))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["ntrigger", "nimages"])
def test_v1_a_count_out_of_range_costs_the_count_not_the_mask(field, number):
    require_all_but_the_number(v1_start(**{field: number}), "v1")


def test_v1_images_times_triggers_out_of_range_cost_the_count_not_the_mask():
    require_all_but_the_number(v1_start(nimages=100_000, ntrigger=100_000), "v1")


@pytest.mark.parametrize("number", [n for n in NUMBERS if not isinstance(n, int) or n < 2**64])
def test_v2_a_count_out_of_range_costs_the_count_not_the_mask(number):
    require_all_but_the_number(v2_start(number_of_images=number), "v2")


def test_counts_that_are_not_said_are_unknown_without_a_word():
    for start, protocol in ((v1_start(nimages=...), "v1"), (v2_start(number_of_images=...), "v2")):
        assert start.expected is None
        assert said_of(start, protocol)[0] == []
    assert v1_start(ntrigger=...).expected == 3
    assert v1_start(nimages=2, ntrigger=5).expected == 10


@pytest.mark.parametrize(
    "field",
    ["nimages", "ntrigger", "count_time", "beam_center_x", "wavelength", "detector_distance",
     "x_pixel_size", "photon_energy", "countrate_correction_count_cutoff", "no_such_field"],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "none", -1e999])
def test_v1_no_value_of_a_field_that_is_not_needed_costs_the_mask(field, value):
    start = v1_start(**{field: value})
    _, began = said_of(start, "v1")
    assert began.lacks == ()
    np.testing.assert_array_equal(frame_of(began, "v1").valid, ~MASK)


@pytest.mark.parametrize(
    "field",
    ["count_time", "beam_center_x", "incident_wavelength", "detector_translation", "channels",
     "pixel_size_x", "incident_energy", "saturation_value", "image_dtype", "image_size_x",
     "series_id", "arm_date", "flatfield", "threshold_energy", "goniometer", "user_data"],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), -1, "what?", None, [], {}, b"bytes", ...])
def test_v2_no_value_of_a_field_that_is_not_needed_costs_the_mask(field, value):
    start = v2_start(**{field: value})
    _, began = said_of(start, "v2")
    assert began.lacks == ()
    np.testing.assert_array_equal(frame_of(began, "v2").valid, ~MASK)


@pytest.mark.parametrize(
    "config", [b"", b"{", b"[1]", b"[" * 100_000, b"\xff" * 20], ids=["", "{", "[]", "deep", "xff"]
)
def test_v1_a_configuration_that_cannot_be_read_costs_itself(config):
    header, _, mask, pixels = json_v1.encode_start(a_start())
    lines, began = said_of(json_v1.read_message([header, config, mask, pixels]), "v1")
    assert "its configuration cannot be read, classified without it" in lines[0]
    assert began.lacks == ("configuration",)
    frame = frame_of(began, "v1")
    np.testing.assert_array_equal(frame.valid, ~MASK)
    assert frame.saturation is None


@pytest.mark.parametrize(("detail", "masked"), [("none", 0), ("basic", 0), ("all", MASK.sum())])
def test_v1_a_header_of_any_detail_is_understood(detail, masked):
    header, *parts = json_v1.encode_start(a_start())
    header = json.dumps(json.loads(header) | {"header_detail": detail}).encode()
    parts = {"none": [], "basic": parts[:1], "all": parts}[detail]
    lines, began = said_of(json_v1.read_message([header, *parts]), "v1")
    assert (lines, began.lacks) == ([], ())
    assert (~frame_of(began, "v1").valid).sum() == masked


MASKS_OF_V1 = {
    "wrong shape": ({"shape": [SHAPE[1], SHAPE[0] - 1]}, None),
    "turned": ({"shape": list(SHAPE)}, None),
    "no shape": ({"shape": None}, None),
    "unknown type": ({"type": "uint31"}, None),
    "another type": ({"type": "uint8"}, None),
    "truncated": ({}, bytes(100)),
    "empty": ({}, b""),
}


@pytest.mark.parametrize("kind", MASKS_OF_V1)
def test_v1_a_mask_that_cannot_be_read_costs_the_mask_not_the_series(kind):
    about, blob = MASKS_OF_V1[kind]
    require_all_but_the_mask(v1_start(about, blob), "v1")


def typed(array: np.ndarray, *, tag: int = 70, shape=None, data=None) -> cbor2.CBORTag:
    data = array.astype("<u4").tobytes() if data is None else data
    return cbor2.CBORTag(40, [list(shape or array.shape), cbor2.CBORTag(tag, data)])


MASKS_OF_V2 = {
    # as in the recorded messages that tickit-devices sends: placeholders, and base64
    "placeholder": {"threshold_1": b"none"},
    "base64": {"threshold_1": base64.b64encode(bytes(480))},
    "no map": [1, 2],
    "bytes": b"",
    "wrong shape": {"threshold_1": typed(MASK[:-1])},
    "turned": {"threshold_1": typed(MASK.T)},
    "wrong type": {"threshold_1": typed(MASK, tag=69)},
    "unknown type": {"threshold_1": typed(MASK, tag=99)},
    "unknown compression": {
        "threshold_1": typed(MASK, data=cbor2.CBORTag(56500, ["zip", 4, b"1234"]))
    },
    "damaged compression": {
        "threshold_1": typed(MASK, data=cbor2.CBORTag(56500, ["bslz4", 4, b"\xff" * 40]))
    },
    "too many channels": {f"c{i}": typed(MASK) for i in range(20)},
    "an odd name": {"../threshold": typed(MASK)},
}


@pytest.mark.parametrize("kind", MASKS_OF_V2)
def test_v2_a_mask_that_cannot_be_read_costs_the_mask_not_the_series(kind):
    require_all_but_the_mask(v2_start(pixel_mask=MASKS_OF_V2[kind]), "v2")


def require_all_but_the_mask(start: Start, protocol: str) -> None:
    lines, began = said_of(start, protocol)
    assert len(lines) == 1
    assert "its mask cannot be read, classified without it" in lines[0]
    assert lines[0].isprintable()
    assert (began.lacks, began.expected) == (("mask",), 3)
    frame = frame_of(began, protocol)
    assert frame.valid.all()
    assert (frame.saturation, frame.beam_center_px) == (5000, (11.5, 20.25))


def test_v2_the_mask_of_one_channel_costs_that_of_no_other():
    masks = {"threshold_1": typed(MASK), "threshold_2": b"none"}
    start = v2_start(channels=["threshold_1", "threshold_2"], pixel_mask=masks)
    lines, began = said_of(start, "v2")
    assert "its mask of 'threshold_2' cannot be read" in lines[0]
    np.testing.assert_array_equal(frame_of(began, "v2").valid, ~MASK)


def test_a_mask_that_fits_no_image_costs_the_mask_of_that_image():
    start = v1_start({"shape": [7, 5]}, b"\1" + bytes(4 * 35 - 1), x_pixels_in_detector=...)
    _, began = said_of(start, "v1")
    read = decoder(began.kind, began.context, series="s")
    image = json_v1.join(encode_image(0, counts_of(0), start=a_start(), protocol="v1"))
    assert read(image, 0).valid.all()
    assert read.lacks == ("mask",)
    small = json_v1.join(encode_image(1, counts_of(0)[:5, :7], start=a_start(), protocol="v1"))
    read(small, 1)
    assert read.lacks == ()


def test_a_mask_that_names_no_pixel_decides_too():
    _, began = said_of(v1_start(blob=bytes(4 * MASK.size)), "v1")
    counts = counts_of(0)
    counts[9, 9] = 65535
    image = json_v1.join(encode_image(0, counts, start=a_start(), protocol="v1"))
    read = decoder(began.kind, began.context, series="s")
    assert read(image, 0).valid.all()  # an overload, as in files
    assert read.lacks == ()


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_type_of_the_pixels_may_change_within_a_series(protocol):
    _, began = said_of(v1_start() if protocol == "v1" else v2_start(), protocol)
    read = decoder(began.kind, began.context, series="s")
    for number, dtype in enumerate(["<u2", "<u4", "u1", ">u2"]):
        counts = counts_of(number, dtype)
        image = encode_image(number, counts, start=a_start(), protocol=protocol)
        frame = read(image if protocol == "v2" else json_v1.join(image), number)
        np.testing.assert_array_equal(frame.counts, counts)
        np.testing.assert_array_equal(frame.valid, ~MASK)


def test_v2_images_of_a_unique_id_need_no_series_id():
    message = {"type": "image", "series_unique_id": "01H", "image_id": 4, "data": {}}
    for more in ({}, {"series_id": -5}, {"series_id": "seven"}):
        found = cbor_v2.read_message(cbor2.dumps(message | more))
        assert (found.unique_id, found.number) == ("01H", 4)
