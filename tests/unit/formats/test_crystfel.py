"""CrystFEL's keys: each that names pixels, units or places is honoured or refused."""

import time

import h5py
import numpy as np
import pytest

from deepfreak.errors import DeepFreakError, FrameError, GeometryError
from deepfreak.formats import find_files, open_frames, read_geometry
from tests.unit.formats import made

SIDE = 64
PANELS = """
p0/min_fs = 0
p0/max_fs = 63
p0/min_ss = 0
p0/max_ss = 31
p0/corner_x = -32
p0/corner_y = -32
p1/min_fs = 0
p1/max_fs = 63
p1/min_ss = 32
p1/max_ss = 63
p1/corner_x = -32
p1/corner_y = 0
"""
HEAD = "data = /entry/data/data\nres = 10000\n"


def data(path, *, n=2, place="/entry/data/data", counts=None, **beside):
    images = np.stack([made.photons((SIDE, SIDE), mean=300, seed=i) for i in range(n)])
    with h5py.File(path, "w") as file:
        file[place] = images.astype(np.float32) if counts is None else counts
        for name, values in beside.items():
            file[name.replace("__", "/")] = values
    return path


def geometry(tmp_path, head="", tail="", panels=PANELS, name="g.geom"):
    path = tmp_path / name
    path.write_text(HEAD + head + panels + tail)
    return read_geometry(path)


def read(path, geometry, **options):
    with open_frames(path, geometry=geometry, reasons=True, **options) as file:
        return [file.read(index) for index in range(file.count)]


def valid_rows(frame):
    return np.flatnonzero(frame.valid.all(axis=1)).tolist()


# --- energy, gain, distance


@pytest.mark.parametrize(
    ("line", "wavelength_A"),
    [
        ("wavelength = 1.3 A", 1.3),
        ("wavelength = 1.3e-10 m", 1.3),
        ("wavelength = /LCLS/wavelength A", 1.4),
        ("wavelength = /LCLS/wavelength_m m", 1.5),
        ("photon_energy = 9500", 12398.42 / 9500),
        ("photon_energy = 9500 eV", 12398.42 / 9500),
        ("photon_energy = 9.5 keV", 12398.42 / 9500),
        ("photon_energy = 0.0095 MeV", 12398.42 / 9500),
        ("photon_energy = /LCLS/energy_eV", 12398.42 / 9600),
        ("photon_energy = /LCLS/energy_eV eV", 12398.42 / 9600),
        ("photon_energy = /LCLS/energy_keV keV", 12398.42 / 9700),
        ("p0/photon_energy = /LCLS/energy_eV\np1/photon_energy = /LCLS/energy_eV", 12398.42 / 9600),
    ],
)
def test_the_gain_comes_from_the_energy_however_it_is_given(tmp_path, line, wavelength_A):
    path = data(
        tmp_path / "a.h5",
        LCLS__wavelength=1.4,
        LCLS__wavelength_m=[1.5e-10],
        LCLS__energy_eV=9600.0,
        LCLS__energy_keV=9.7,
    )
    head, tail = (f"{line}\n", "") if "p0/" not in line else ("", f"{line}\n")
    for frame in read(path, geometry(tmp_path, f"adu_per_eV = 0.00338\n{head}", tail)):
        assert frame.wavelength_A == pytest.approx(wavelength_A, rel=1e-5)
        assert frame.gain == pytest.approx(0.00338 * 12398.42 / wavelength_A, rel=1e-5)
        assert "adu_per_eV" in frame.origins["gain"]


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_an_energy_for_each_frame_gives_each_its_gain(tmp_path, shape):
    energies = np.array([9000.0, 9500.0])
    path = data(tmp_path / "a.h5", LCLS__energy=energies.reshape(shape))
    g = geometry(tmp_path, "photon_energy = /LCLS/energy eV\nadu_per_eV = 0.002\n")
    assert [frame.gain for frame in read(path, g)] == pytest.approx([18.0, 19.0])


@pytest.mark.parametrize(
    "values", [None, np.zeros((3, 4)), np.arange(5.0), np.nan, 0.0, -3.0, "9500"]
)
def test_an_energy_that_is_not_there_is_an_error_and_never_a_gain_of_one(tmp_path, values):
    beside = {} if values is None else {"LCLS__energy": values}
    path = data(tmp_path / "a.h5", **beside)
    g = geometry(tmp_path, "photon_energy = /LCLS/energy eV\nadu_per_eV = 0.002\n")
    with pytest.raises(DeepFreakError, match="/LCLS/energy"):
        read(path, g)


def test_an_energy_in_the_data_file_works_with_no_other_format(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons((SIDE, SIDE))))
    g = geometry(tmp_path, "photon_energy = /LCLS/energy eV\nadu_per_eV = 0.002\n")
    with pytest.raises(FrameError, match="/LCLS/energy"):
        read(tmp_path / "a.cbf", g)


def test_adu_per_photon_is_the_gain_and_wins_over_the_file(tmp_path):
    path = data(tmp_path / "a.h5", entry__data__data_scaling_factor=0.5)
    assert read(path, geometry(tmp_path, "adu_per_photon = 7\n"))[0].gain == 7


@pytest.mark.parametrize("key", ["adu_per_eV", "adu_per_photon"])
def test_gains_that_differ_by_panel_are_never_taken_for_one(tmp_path, key):
    energy = "photon_energy = 9000 eV\n"
    with pytest.raises(GeometryError, match=key):
        geometry(tmp_path, energy, f"p0/{key} = 0.001\np1/{key} = 0.002\n")
    same = geometry(tmp_path, energy, f"p0/{key} = 0.001\np1/{key} = 0.001\n")
    assert read(data(tmp_path / "a.h5"), same)[0].gain == pytest.approx(
        9.0 if key == "adu_per_eV" else 0.001
    )


def test_the_least_of_the_panels_limits_is_the_saturation(tmp_path):
    g = geometry(tmp_path, tail="p0/max_adu = 900\np1/max_adu = 800\n")
    assert read(data(tmp_path / "a.h5"), g)[0].saturation == 800


@pytest.mark.parametrize(
    ("line", "mm"),
    [
        ("clen = 0.1", 100.0),
        ("clen = 0.1 m", 100.0),
        ("clen = 95.3 mm", 95.3),
        ("clen = 100 mm\ncoffset = 0.01", 110.0),
        ("clen = /LCLS/clen", 120.0),
        ("clen = /LCLS/clen mm", 120.0),
        ("clen = /LCLS/clen_m m", 130.0),
        ("clen = /LCLS/clen\ncoffset = 0.5", 620.0),
    ],
)
def test_the_distance_has_its_units(tmp_path, line, mm):
    path = data(tmp_path / "a.h5", LCLS__clen=120.0, LCLS__clen_m=0.13)
    assert read(path, geometry(tmp_path, f"{line}\n"))[0].distance_mm == pytest.approx(mm)


@pytest.mark.parametrize(
    "line",
    [
        "clen = 100 furlongs",
        "wavelength = 1.3",
        "wavelength = 1.3 nm",
        "photon_energy = 9 J",
        "clen = nan",
    ],
)
def test_units_that_nobody_knows_are_refused(tmp_path, line):
    with pytest.raises(GeometryError, match=line.split(" ")[0]):
        geometry(tmp_path, f"{line}\n")


# --- bad pixels


def test_a_panel_that_is_not_to_be_indexed_is_left_out(tmp_path):
    path = data(tmp_path / "a.h5")
    frame = read(path, geometry(tmp_path, tail="p0/no_index = 1\n"))[0]
    assert valid_rows(frame) == list(range(32, 64))
    for text in ("0", "false"):
        assert read(path, geometry(tmp_path, tail=f"p0/no_index = {text}\n"))[0].valid.all()
    assert not read(path, geometry(tmp_path, head="no_index = 1\n"))[0].valid.any()


@pytest.mark.parametrize(
    ("edge", "left"), [(0, 4096), (4, 2 * 56 * 24), (16, 0), (31, 0), (5000, 0)]
)
def test_the_edges_of_panels_are_left_out(tmp_path, edge, left):
    path = data(tmp_path / "a.h5")
    frame = read(path, geometry(tmp_path, head=f"mask_edge_pixels = {edge}\n"))[0]
    assert frame.valid.sum() == left


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("flag_lessthan = 300", lambda c: c < 300),
        ("flag_lessthan = 299.5", lambda c: c < 299.5),
        ("flag_morethan = 310", lambda c: c > 310),
        ("flag_equal = 300", lambda c: c == 300),
        ("p1/flag_equal = 300", lambda c: (c == 300) & (np.arange(64)[:, None] >= 32)),
        ("p0/flag_lessthan = 290\np1/flag_morethan = 310",
         lambda c: np.where(np.arange(64)[:, None] < 32, c < 290, c > 310)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int32])
def test_pixels_are_flagged_by_their_counts(tmp_path, line, bad, dtype):
    counts = np.stack([made.photons((SIDE, SIDE), mean=300)] * 2).astype(dtype)
    head, tail = ("", f"{line}\n") if "/" in line else (f"{line}\n", "")
    frame = read(data(tmp_path / "a.h5", counts=counts), geometry(tmp_path, head, tail))[0]
    assert np.array_equal(~frame.valid, bad(counts[0]))


MASK = np.zeros((SIDE, SIDE), np.uint16)
MASK[3], MASK[40] = 1, 6


@pytest.mark.parametrize(
    ("bits", "rows"),
    [
        ("", [3, 40]),
        ("mask{n}_badbits = 0x1", [3]),
        ("mask{n}_badbits = 2", [40]),
        ("mask{n}_goodbits = 0x0\nmask{n}_badbits = 0x7", [3, 40]),
        ("mask{n}_badbits = 0x8", []),
        ("mask{n}_goodbits = 0x2\nmask{n}_badbits = 0x0", [r for r in range(64) if r != 40]),
    ],
)
@pytest.mark.parametrize("number", [0, 1, 7])
@pytest.mark.parametrize("place", ["inside", "working folder", "geometry's folder", "absolute"])
def test_masks_are_honoured_wherever_they_stand(tmp_path, monkeypatch, bits, rows, number, place):
    path = data(tmp_path / "a.h5", **({"m__mask": MASK} if place == "inside" else {}))
    (tmp_path / "work").mkdir()
    (tmp_path / "geo").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    head = f"mask{number}_data = /m/mask\n" + bits.format(n=number) + "\n"
    if place != "inside":
        folder = tmp_path / ("work" if place == "working folder" else "geo")
        data(folder / "masks.h5", m__mask=MASK)
        name = folder / "masks.h5" if place == "absolute" else "masks.h5"
        head += f"mask{number}_file = {name}\n"
    frame = read(path, geometry(tmp_path / "geo", head))[0]
    assert np.flatnonzero(~frame.valid.any(axis=1)).tolist() == rows


def test_old_names_of_the_mask_are_honoured(tmp_path):
    path = data(tmp_path / "a.h5", m__mask=MASK)
    g = geometry(tmp_path, "mask = /m/mask\nmask_good = 0x0\nmask_bad = 0x1\n")
    assert np.flatnonzero(~read(path, g)[0].valid.any(axis=1)).tolist() == [3]


@pytest.mark.parametrize(
    "change", ["absent file", "absent place", "other shape", "unwritten", "data only of a file"]
)
def test_a_mask_that_cannot_be_had_is_an_error(tmp_path, change):
    path = data(tmp_path / "a.h5")
    head = "mask0_data = /m/mask\nmask0_file = masks.h5\n"
    mask = MASK.T[:32] if change == "other shape" else MASK
    place = "m/other" if change == "absent place" else "m/mask"
    if change != "absent file":
        with h5py.File(tmp_path / "masks.h5", "w") as file:
            if change == "unwritten":
                file.create_dataset(place, MASK.shape, MASK.dtype, chunks=(8, 64))
            else:
                file[place] = mask
    if change == "data only of a file":
        head = "mask0_file = masks.h5\n"
    with pytest.raises(DeepFreakError, match="mask"):
        read(path, geometry(tmp_path, head))


@pytest.mark.parametrize(
    "line",
    [
        *("mask9_data = /m", "bad_pixel_map = x", "flag_between = 3", "mask0_invert = 1"),
        *("p0/maskedpixels = 3", "badx/min_zz = 3", "dim9x = 3"),
    ],
)
def test_keys_that_may_name_pixels_and_that_nobody_knows_are_refused(tmp_path, line):
    head, tail = ("", f"{line}\n") if "/" in line.split("=")[0] else (f"{line}\n", "")
    with pytest.raises(GeometryError, match="expected"):
        geometry(tmp_path, head, tail)


@pytest.mark.parametrize(
    ("tail", "left"),
    [
        ("bad0/min_x = -10\nbad0/max_x = 10\nbad0/min_y = -5\nbad0/max_y = 5\n", 4096 - 20 * 10),
        (
            "bad0/min_fs = 0\nbad0/max_fs = 9\nbad0/min_ss = 0\nbad0/max_ss = 9\nbad0/panel = p0\n",
            3996,
        ),
        ("bad0/min_fs = 0\nbad0/max_fs = 9\nbad0/min_ss = 28\nbad0/max_ss = 37\n", 3996),
    ],
)
def test_bad_regions_are_left_out(tmp_path, tail, left):
    frame = read(data(tmp_path / "a.h5"), geometry(tmp_path, tail=tail))[0]
    assert frame.valid.sum() == left


def test_a_bad_region_of_a_panel_that_is_not_there_is_refused(tmp_path):
    tail = "bad0/min_fs = 0\nbad0/max_fs = 9\nbad0/min_ss = 0\nbad0/max_ss = 9\nbad0/panel = q\n"
    with pytest.raises(GeometryError, match="panel"):
        geometry(tmp_path, tail=tail)


# --- places of the images


def test_places_for_all_groups_are_taken_in_the_order_of_their_numbers(tmp_path):
    images = [made.photons((SIDE, SIDE), seed=i).astype(np.float32) for i in range(3)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, image in zip(("event_2", "event_10", "event_100"), images, strict=True):
            file[f"{name}/data"] = image
            file[f"{name}/mask"] = MASK
            file[f"a/{name}/data"] = image
    (tmp_path / "g.geom").write_text(
        f"data = /%/data\nmask0_data = /%/mask\nmask0_badbits=1\n{PANELS}"
    )
    read_all = read(tmp_path / "a.h5", read_geometry(tmp_path / "g.geom"))
    assert len(read_all) == 3
    for frame, image in zip(read_all, images, strict=True):
        np.testing.assert_array_equal(frame.counts, image)
        assert np.flatnonzero(~frame.valid.any(axis=1)).tolist() == [3]
    (tmp_path / "g.geom").write_text(f"data = /a/%/data\n{PANELS}")
    read_all = read(tmp_path / "a.h5", read_geometry(tmp_path / "g.geom"))
    assert [frame.counts[0, 0] for frame in read_all] == [image[0, 0] for image in images]


@pytest.mark.parametrize("place", ["/x%/data", "/nothing/%/data", "/%/nothing"])
def test_a_place_for_all_groups_that_fits_none_is_an_error(tmp_path, place):
    (tmp_path / "g.geom").write_text(f"data = {place}\n{PANELS}")
    with pytest.raises(FrameError, match="%"):
        read(data(tmp_path / "a.h5"), read_geometry(tmp_path / "g.geom"))


@pytest.mark.parametrize("key", ["data", "file"])
def test_panels_with_data_of_their_own_are_refused_in_one_line(tmp_path, key):
    values = ("a.h5", "b.h5") if key == "file" else ("/a/data", "/b/data")
    tail = f"p0/{key} = {values[0]}\np1/{key} = {values[1]}\n"
    with pytest.raises(GeometryError) as caught:
        geometry(tmp_path, tail=tail)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_a_geometry_for_native_files_works_on_a_run_folder(tmp_path, gone):
    run = tmp_path / "run"
    run.mkdir()
    frames = np.stack([made.photons((SIDE, SIDE), seed=i) for i in range(6)]).astype(np.uint32)
    made.eiger(run, frames, files=3)
    if gone:
        (run / f"run_data_{gone:06d}.h5").unlink()
    g = geometry(tmp_path)
    found = find_files([run], g)
    assert [file.name for file in found] == [f"run_data_{n:06d}.h5" for n in (1, 2, 3) if n != gone]
    read_all = [frame.counts for file in found for frame in read(file, g)]
    left = [i for i in range(6) if not gone or i // 2 != gone - 1]
    np.testing.assert_array_equal(np.stack(read_all), frames[left])


# --- text


@pytest.mark.timing
@pytest.mark.parametrize(
    "line",
    [
        f"p0/fs = {'1' * 5000}x",
        f"p0/fs = {'1' * 190}y",
        f"p0/corner_x = {'9' * 5000}",
        "p0/corner_x = 1e999",
        "p0/corner_x = nan",
        "p0/min_fs = -3",
        "p0/max_fs = 99999999999",
        "p0/fs = xq",
        "p0/ss = 0x 0y",
    ],
)
def test_numbers_without_bounds_are_refused_at_once(tmp_path, line):
    start = time.process_time()
    with pytest.raises(GeometryError) as caught:
        read(data(tmp_path / "a.h5"), geometry(tmp_path, tail=f"{line}\n"))
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
