import json
import pickle

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError, GeometryError
from deepfreak.formats import Frame, read_frames, read_geometry
from deepfreak.formats.geometry.layout import assemble
from tests.unit.formats import made

TWO_PANELS = """
; two modules of 64 x 80, one below the other in the file, side by side on the detector
adu_per_photon = 2.0
max_adu = 9000
res = 10000
clen = 0.08
data = /entry/data/data
dim0 = %
rigid_group_all = p0,p1

p0/min_fs = 0
p0/max_fs = 79
p0/min_ss = 0
p0/max_ss = 63
p0/corner_x = -82.2
p0/corner_y = -30.1
p0/fs = +1.0x +0.001y
p0/ss = -0.001x +1.0y

p1/min_fs = 0
p1/max_fs = 79
p1/min_ss = 64
p1/max_ss = 127
p1/corner_x = 82.0
p1/corner_y = 34.0
p1/fs = -x
p1/ss = -y

bad_corner/min_fs = 0
bad_corner/max_fs = 4
bad_corner/min_ss = 64
bad_corner/max_ss = 65
bad_corner/panel = p1

bad_plane/min_x = -82
bad_plane/max_x = -80
bad_plane/min_y = -30
bad_plane/max_y = -20
"""


def geometry(tmp_path, text, name="a.geom"):
    path = tmp_path / name
    path.write_text(text)
    return read_geometry(path)


def stack_of(tmp_path, frames, name="a.h5"):
    with h5py.File(tmp_path / name, "w") as file:
        file["entry/data/data"] = frames
    return tmp_path / name


def test_crystfels_panels_are_laid_where_the_file_says(tmp_path):
    raw = np.arange(2 * 128 * 80, dtype=np.int32).reshape(2, 128, 80)
    layout = geometry(tmp_path, TWO_PANELS)
    frames = list(read_frames(stack_of(tmp_path, raw), geometry=layout))
    assert len(frames) == 2
    frame = frames[1]
    # x from -82 to 82, y from -30 to 34
    assert frame.counts.shape == (64, 164)
    np.testing.assert_array_equal(frame.counts[11:, 2:80], raw[1, 11:64, 2:])
    np.testing.assert_array_equal(frame.counts[:62, 84:], raw[1, 66:, ::1][::-1, ::-1])
    assert frame.beam_center_px == (30, 82)
    assert not frame.valid[:, 80:84].any()  # the gap
    assert not frame.valid[:10, :2].any()  # bad_plane
    assert frame.valid[10:, :2].all()
    assert not frame.valid[62:, 159:].any()  # bad_corner, turned
    assert frame.valid[62:, 84:159].all()
    assert (frame.gain, frame.saturation) == (2, 9000)
    assert (frame.pixel_size_mm, frame.distance_mm) == pytest.approx((0.1, 80))


def test_a_stack_of_modules_is_assembled_by_its_dims(tmp_path):
    raw = np.stack([made.photons((3, 70, 90), seed=i) for i in range(2)])
    panels = "".join(
        f"m{i}/dim0 = %\nm{i}/dim1 = {i}\nm{i}/dim2 = ss\nm{i}/dim3 = fs\n"
        f"m{i}/min_fs = 0\nm{i}/max_fs = 89\nm{i}/min_ss = 0\nm{i}/max_ss = 69\n"
        f"m{i}/corner_x = -45\nm{i}/corner_y = {75 * i - 110}\n"
        for i in range(3)
    )
    path = stack_of(tmp_path, raw)
    with pytest.raises(FrameError, match="--geometry"):
        list(read_frames(path))
    frames = list(read_frames(path, geometry=geometry(tmp_path, panels)))
    assert [frame.counts.shape for frame in frames] == [(220, 90)] * 2
    for frame, modules in zip(frames, raw, strict=True):
        for i, module in enumerate(modules):
            np.testing.assert_array_equal(frame.counts[75 * i : 75 * i + 70], module)
        assert np.count_nonzero(frame.valid) == raw[0].size


def test_a_panel_at_an_angle_loses_no_area(tmp_path):
    text = (
        "p0/min_fs = 0\np0/max_fs = 99\np0/min_ss = 0\np0/max_ss = 99\np0/corner_x = 0\n"
        "p0/corner_y = 0\np0/fs = 0.8x + 0.6y\np0/ss = -0.6x + 0.8y\n"
    )
    frame = next(
        read_frames(
            stack_of(tmp_path, made.photons((1, 100, 100))), geometry=geometry(tmp_path, text)
        )
    )
    assert np.count_nonzero(frame.valid) == pytest.approx(100 * 100, rel=0.01)


def test_crystfels_mask_bits_are_honoured(tmp_path):
    text = TWO_PANELS.replace(
        "p0/min_fs", "mask = /bad\nmask_good = 0x10\nmask_bad = 0x3\np0/min_fs", 1
    )
    path = stack_of(tmp_path, np.ones((1, 128, 80), np.int32))
    flags = np.full((128, 80), 0x10, np.uint16)
    flags[20, 20], flags[21, 21], flags[22, 22] = 0x12, 0, 0x14
    with h5py.File(path, "a") as file:
        file["bad"] = flags
    frame = next(read_frames(path, geometry=geometry(tmp_path, text)))
    assert not frame.valid[20, 20]
    assert not frame.valid[21, 21]
    assert frame.valid[22, 22]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("p0/min_fs = 0", "p0/min_fs = many"), "min_fs"),
        (("p0/max_fs = 79", "p0/max_fs = -1"), "max_fs"),
        (("p0/fs = +1.0x +0.001y", "p0/fs = sideways"), "fs such as"),
        (("p0/ss = -0.001x +1.0y", "p0/ss = +1.0x"), "span"),
        (("p0/corner_x = -82.2", "p0/corner_x = 1e9"), "fit on"),
        (("p1/max_ss = 127", "p1/max_ss = 500"), "inside the raw data"),
        (("rigid_group_all = p0,p1", "just words"), "key = value"),
    ],
)
def test_a_crystfel_file_that_makes_no_sense_is_refused_in_one_line(tmp_path, change, message):
    text = TWO_PANELS.replace(*change)
    assert text != TWO_PANELS
    path = stack_of(tmp_path, np.ones((1, 128, 80), np.int32))
    with pytest.raises(GeometryError, match=message) as error:
        list(read_frames(path, geometry=geometry(tmp_path, text)))
    assert "\n" not in str(error.value)


def expt(panels, **more):
    return json.dumps(
        {"detector": [{"panels": panels, **more}], "beam": [{"direction": [0, 0, 1]}]}
    )


def panel(origin, *, size=(80, 64), fast=(1, 0, 0), slow=(0, -1, 0), **more):
    return {
        "origin": origin,
        "fast_axis": fast,
        "slow_axis": slow,
        "image_size": size,
        "pixel_size": [0.1, 0.1],
        "raw_image_offset": [0, 0],
        "trusted_range": [0, 5000],
        "gain": 1.5,
        "pedestal": 3,
        "mask": [],
        **more,
    }


def test_dials_panels_are_laid_by_origin_and_axes(tmp_path):
    raw = made.photons((2, 64, 80))
    panels = [
        panel([-8.2, 3.0, -100], mask=[[0, 0, 5, 2]]),
        panel([8.2, -3.4, -100], fast=(-1, 0, 0), slow=(0, 1, 0)),
    ]
    layout = geometry(tmp_path, expt(panels), "a.expt")
    frame = next(read_frames(stack_of(tmp_path, raw[None]), geometry=layout))
    assert frame.counts.shape == (64, 164)
    np.testing.assert_array_equal(frame.counts[2:, :80], raw[0, 2:])
    np.testing.assert_array_equal(frame.counts[:, 84:], raw[1][::-1, ::-1])
    assert not frame.valid[:2, :5].any()
    assert frame.valid[2:, :80].all()
    assert frame.beam_center_px == pytest.approx((30, 82))
    assert (frame.gain, frame.pedestal, frame.saturation) == (1.5, 3, 5000)
    assert frame.distance_mm == 100


def test_dials_groups_move_their_panels(tmp_path):
    # the group is turned by a quarter about the beam and moved
    hierarchy = {
        "origin": [0, 0, -100],
        "fast_axis": [1, 0, 0],
        "slow_axis": [0, 1, 0],
        "children": [
            {"panel": 0},
            {
                "origin": [2.0, 0, 0],
                "fast_axis": [0, 1, 0],
                "slow_axis": [-1, 0, 0],
                "children": [{"panel": 1}],
            },
        ],
    }
    straight = {"fast": (1, 0, 0), "slow": (0, 1, 0), "size": (10, 10)}
    panels = [panel([0, 0, 0], **straight), panel([0, 0, 0], **straight)]
    layout = geometry(tmp_path, expt(panels, hierarchy=hierarchy), "a.expt")
    assert layout.panels[0].corner == pytest.approx((0, 0))
    assert layout.panels[1].corner == pytest.approx((20, 0))
    assert layout.panels[1].fast == pytest.approx((0, 1))
    assert layout.panels[1].slow == pytest.approx((-1, 0))


def test_a_dials_file_of_one_panel_keeps_a_flat_image_as_it_is(tmp_path):
    counts = made.photons()
    (tmp_path / "a.cbf").write_bytes(made.cbf(counts))
    layout = geometry(tmp_path, expt([panel([-6.5, 7.5, -90], size=(130, 150))]), "a.expt")
    frame = next(read_frames(tmp_path / "a.cbf", geometry=layout))
    np.testing.assert_array_equal(frame.counts, counts)
    assert frame.beam_center_px == pytest.approx((75, 65))


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "{}",
        '{"detector": []}',
        '{"detector": [{"panels": []}]}',
        '{"detector": [{"panels": [{"origin": "here"}]}]}',
        expt([panel([0, 0, -100], size=(0, 5))]),
        expt([panel([0, 0, -100], pixel_size=[0, 0.1])]),
        expt([panel([0, 0, -100], fast=(0, 0, 0))]),
        "[" * 100_000,
    ],
)
def test_a_dials_file_that_makes_no_sense_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(GeometryError) as error:
        geometry(tmp_path, text, "a.expt")
    assert "\n" not in str(error.value)


PONI = """# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.0001, "pixel2": 0.0001, "max_shape": [150, 130], "orientation": 3}
Distance: 0.1
Poni1: 0.0070
Poni2: 0.0060
Rot1: 0.01
Rot2: -0.02
Rot3: 0.3
Wavelength: 1e-10
"""


def test_pyfais_beam_is_where_pyfais_rotations_put_it(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons()))
    layout = geometry(tmp_path, PONI, "a.poni")
    frame = next(read_frames(tmp_path / "a.cbf", geometry=layout))
    slow, fast = frame.beam_center_px
    # pyFAI's own rotation of the detector's point (p1, p2, distance) must lie on the beam
    p = np.array([slow * 1e-4 - 0.0070, fast * 1e-4 - 0.0060, 0.1])
    c1, s1, c2, s2 = np.cos(0.01), np.sin(0.01), np.cos(-0.02), np.sin(-0.02)
    rotation1 = np.array([[1, 0, 0], [0, c1, s1], [0, -s1, c1]])
    rotation2 = np.array([[c2, 0, -s2], [0, 1, 0], [s2, 0, c2]])
    across = (rotation2 @ rotation1 @ p)[:2]
    assert across == pytest.approx([0, 0], abs=1e-9)
    assert frame.wavelength_A == pytest.approx(1)
    assert frame.pixel_size_mm == pytest.approx(0.1)


def test_pyfais_orientation_counts_from_the_other_end(tmp_path):
    def beam(text):
        frame = Frame(file="", index=0, counts=np.ones((150, 130)), valid=np.ones((150, 130)) > 0)
        return assemble(frame, geometry(tmp_path, text, "a.poni")).beam_center_px

    plain, turned = beam(PONI), beam(PONI.replace(": 3}", ": 1}"))
    assert turned == pytest.approx((150 - plain[0], 130 - plain[1]))


def test_a_geometry_can_be_sent_to_another_process(tmp_path):
    sent = geometry(tmp_path, PONI, "a.poni")
    received = pickle.loads(pickle.dumps(sent))  # noqa: S301 - our own
    assert (received.beam, received.metadata) == (sent.beam, sent.metadata)


def test_a_poni_file_without_pixels_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(GeometryError, match="pixel size"):
        geometry(tmp_path, "Distance: 0.1\nPoni1: 0\nPoni2: 0\n", "a.poni")
    with pytest.raises(GeometryError, match="expected a CrystFEL"):
        geometry(tmp_path, "", "a.txt")
    with pytest.raises(GeometryError, match="cannot read"):
        read_geometry(tmp_path / "none.geom")
