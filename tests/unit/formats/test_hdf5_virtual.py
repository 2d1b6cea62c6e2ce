"""Virtual data sets and links: HDF5's fill values are never taken for a measurement."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats import find_files, open_frames
from tests.unit.formats import made

SHAPE = (48, 40)
IMAGES = "entry/data/data"


def stack(n=4, *, first=0, shape=SHAPE):
    return np.stack([made.photons(shape, seed=first + i) for i in range(n)]).astype(np.uint16)


def source(path, frames, place=IMAGES):
    with h5py.File(path, "w") as file:
        file.create_dataset(place, data=frames, chunks=(1, *frames.shape[1:]))
    return path


def virtual(path, parts, length, *, place=IMAGES, shape=SHAPE, links=None):
    """Write a virtual stack: `parts` are (where, file, place in it, its shape, what of it)."""
    layout = h5py.VirtualLayout((length, *shape), np.uint16)
    for where, name, inside, size, what in parts:
        layout[where] = h5py.VirtualSource(name, inside, size)[what]
    with h5py.File(path, "w") as file:
        for key, link in (links or {}).items():
            file[key] = link
        file.create_virtual_dataset(place, layout)
    return path


def judged(path, **options):
    """Return for each frame of a file its counts, or the error line."""
    found = []
    with open_frames(path, **options) as file:
        for index in range(file.count):
            try:
                found.append(file.read(index).counts)
            except FrameError as error:
                found.append(str(error))
    return found


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, str):
            assert isinstance(one, str), "a frame that nobody measured was read"
            assert other in one
        else:
            np.testing.assert_array_equal(one, other)


def test_a_stack_of_three_files_whose_second_is_missing_gives_the_others(tmp_path):
    frames = stack(6)
    for n in (0, 2):
        source(tmp_path / f"{n}.h5", frames[2 * n : 2 * n + 2])
    path = virtual(
        tmp_path / "v.h5",
        [(slice(2 * n, 2 * n + 2), f"{n}.h5", IMAGES, (2, *SHAPE), slice(None)) for n in range(3)],
        6,
    )
    same(judged(path), [*frames[:2], "1.h5", "1.h5", *frames[4:]])


def test_frames_that_no_source_has_are_an_error_each(tmp_path):
    frames = stack(4)
    source(tmp_path / "a.h5", frames)
    path = virtual(tmp_path / "v.h5", [(slice(1, 5), "a.h5", IMAGES, (4, *SHAPE), slice(None))], 7)
    none = "frame "
    same(judged(path), [none, *frames, none, none])


def test_interleaved_sources_are_told_apart(tmp_path):
    frames = stack(6)
    source(tmp_path / "even.h5", frames[::2])
    path = virtual(
        tmp_path / "v.h5",
        [
            (slice(0, 6, 2), "even.h5", IMAGES, (3, *SHAPE), slice(None)),
            (slice(1, 6, 2), "odd.h5", IMAGES, (3, *SHAPE), slice(None)),
        ],
        6,
    )
    same(judged(path), [frames[0], "odd.h5", frames[2], "odd.h5", frames[4], "odd.h5"])
    source(tmp_path / "odd.h5", frames[1::2])
    same(judged(path), list(frames))


@pytest.mark.parametrize("gone", [False, True])
def test_a_source_that_takes_every_second_frame_of_a_file(tmp_path, gone):
    frames = stack(6)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(IMAGES, frames.shape, np.uint16, chunks=(1, *SHAPE))
        for n in (0, 1, 2, 3) if gone else range(6):
            data[n] = frames[n]
    path = virtual(
        tmp_path / "v.h5", [(slice(0, 3), "a.h5", IMAGES, (6, *SHAPE), slice(0, 6, 2))], 3
    )
    last = "frame 2" if gone else frames[4]
    same(judged(path), [frames[0], frames[2], last])


def test_hits_that_a_virtual_stack_picks_are_told_apart(tmp_path):
    frames = stack(8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(IMAGES, frames.shape, np.uint16, chunks=(1, *SHAPE))
        for n in (0, 1, 5, 7):
            data[n] = frames[n]
    hits = [1, 4, 5]
    parts = [(slice(0, 3), "a.h5", IMAGES, (8, *SHAPE), hits)]
    same(judged(virtual(tmp_path / "v.h5", parts, 3)), [frames[1], "frame 1", frames[5]])


def test_parts_of_different_shapes_of_frame_do_not_hide_each_other(tmp_path):
    frames = stack(4)
    source(tmp_path / "a.h5", frames[:2])
    for half in (0, 1):
        source(tmp_path / f"h{half}.h5", frames[2:, 24 * half : 24 * half + 24])
    parts = [(slice(0, 2), "a.h5", IMAGES, (2, *SHAPE), slice(None))]
    for half in (0, 1):
        where = slice(2, 4), slice(24 * half, 24 * half + 24)
        parts.append((where, f"h{half}.h5", IMAGES, (2, 24, 40), slice(None)))
    path = virtual(tmp_path / "v.h5", parts, 4)
    same(judged(path), list(frames))
    (tmp_path / "h1.h5").unlink()
    same(judged(path), [*frames[:2], "h1.h5", "h1.h5"])


def test_a_stack_made_of_stacks_gives_no_frame_of_a_file_that_is_missing(tmp_path):
    frames = stack(4)
    source(tmp_path / "a.h5", frames[:2])
    inner = [
        (slice(0, 2), "a.h5", IMAGES, (2, *SHAPE), slice(None)),
        (slice(2, 4), "b.h5", IMAGES, (2, *SHAPE), slice(None)),
    ]
    virtual(tmp_path / "inner.h5", inner, 4)
    outer = [(slice(0, 4), "inner.h5", IMAGES, (4, *SHAPE), slice(None))]
    path = virtual(tmp_path / "outer.h5", outer, 4)
    same(judged(path), [*frames[:2], "b.h5", "b.h5"])
    source(tmp_path / "b.h5", frames[2:])
    same(judged(path), list(frames))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("way", ["external", "soft to external", "soft to soft", "virtual"])
def test_a_source_in_its_own_file_is_followed_wherever_it_leads(tmp_path, way, there):
    frames = stack(3)
    source(tmp_path / "d.h5", frames, "data")
    links = {"entry/raw": h5py.ExternalLink("d.h5", "/data")}
    name = "entry/raw"
    if way.startswith("soft"):
        links["entry/alias"], name = h5py.SoftLink("/entry/raw"), "entry/alias"
    if way == "soft to soft":
        links["other/alias"], name = h5py.SoftLink("/entry/alias"), "other/alias"
    path = tmp_path / "m.nxs"
    if way == "virtual":
        whole = h5py.VirtualLayout((3, *SHAPE), np.uint16)
        whole[:] = h5py.VirtualSource("d.h5", "data", (3, *SHAPE))
        outer = h5py.VirtualLayout((3, *SHAPE), np.uint16)
        outer[:] = h5py.VirtualSource(".", "entry/raw", (3, *SHAPE))
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("entry/raw", whole)
            file.create_virtual_dataset(IMAGES, outer)
    else:
        virtual(path, [(slice(0, 3), ".", name, (3, *SHAPE), slice(None))], 3, links=links)
    if there:
        same(judged(path), list(frames))
        return
    (tmp_path / "d.h5").unlink()
    with pytest.raises(FrameError, match=r"d\.h5"):
        judged(path)


def test_a_source_that_lacks_the_data_set_is_an_error(tmp_path):
    source(tmp_path / "a.h5", stack(2), "elsewhere")
    path = virtual(tmp_path / "v.h5", [(slice(0, 2), "a.h5", IMAGES, (2, *SHAPE), slice(None))], 2)
    with pytest.raises(FrameError, match="expected"):
        judged(path)


def test_a_source_that_is_shorter_than_its_place_leaves_the_rest_unmeasured(tmp_path):
    frames = stack(2)
    source(tmp_path / "a.h5", frames)
    path = virtual(tmp_path / "v.h5", [(slice(0, 4), "a.h5", IMAGES, (4, *SHAPE), slice(None))], 4)
    same(judged(path), [*frames, "frame 2", "frame 3"])


def test_printf_names_stand_for_a_series_of_files(tmp_path):
    frames = stack(6)
    for n in (0, 1, 2):
        source(tmp_path / f"s_{n}.h5", frames[2 * n : 2 * n + 2])
    space = h5py.h5s.create_simple((6, *SHAPE), (h5py.h5s.UNLIMITED, *SHAPE))
    space.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (2, *SHAPE), (2, *SHAPE))
    inside = h5py.h5s.create_simple((2, *SHAPE))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, b"s_%b.h5", b"entry/data/data", inside)
    path = tmp_path / "v.h5"
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("entry/data")
        kind = h5py.h5t.py_create(np.dtype(np.uint16))
        whole = h5py.h5s.create_simple((6, *SHAPE), (h5py.h5s.UNLIMITED, *SHAPE))
        h5py.h5d.create(group.id, b"data", kind, whole, plist)
    same(judged(path), list(frames))
    (tmp_path / "s_2.h5").unlink()
    same(judged(path), list(frames[:4]))
    source(tmp_path / "s_2.h5", frames[4:])
    (tmp_path / "s_1.h5").unlink()
    same(judged(path), list(frames[:2]))  # where HDF5 itself ends the series


def modules(tmp_path, present, *, height=24):
    """Write an image of two modules with a gap of 4 rows between them."""
    frames = stack(3, shape=(2 * height + 4, 40))
    frames[:, height : height + 4] = 0
    layout = h5py.VirtualLayout(frames.shape, np.uint16)
    for n, rows in enumerate((slice(0, height), slice(height + 4, None))):
        if n in present:
            source(tmp_path / f"m{n}.h5", frames[:, rows], "data")
        layout[:, rows] = h5py.VirtualSource(f"m{n}.h5", "data", (3, height, 40))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset(IMAGES, layout, fillvalue=7)
    return tmp_path / "v.h5", frames


def test_the_gap_between_modules_that_nothing_maps_is_missing(tmp_path):
    path, frames = modules(tmp_path, {0, 1})
    with open_frames(path, reasons=True) as file:
        for index in range(3):
            frame = file.read(index)
            assert np.flatnonzero(~frame.valid.all(axis=1)).tolist() == [24, 25, 26, 27]
            assert frame.missing["not in the file"].sum() == 160
            assert np.array_equal(frame.counts[frame.valid], frames[index][frame.valid])


@pytest.mark.parametrize("there", [0, 1])
def test_a_frame_of_which_a_module_is_missing_is_an_error(tmp_path, there):
    path, _ = modules(tmp_path, {there})
    with pytest.raises(FrameError, match=rf"m{1 - there}\.h5"):
        judged(path)


def test_one_virtual_image_is_a_frame_or_an_error(tmp_path):
    image = stack(1)[0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = image
    layout = h5py.VirtualLayout(SHAPE, np.uint16)
    layout[:] = h5py.VirtualSource("a.h5", "data", SHAPE)
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset(IMAGES, layout)
    same(judged(path), [image])
    (tmp_path / "a.h5").unlink()
    with pytest.raises(FrameError, match=r"a\.h5"):
        judged(path)


@pytest.mark.parametrize("there", [True, False])
def test_pixels_in_a_file_beside_it_are_read_or_missed(tmp_path, there):
    frames = stack(2)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_dataset(
            IMAGES, frames.shape, np.uint16,
            external=[(str(tmp_path / "raw.bin"), 0, frames.nbytes)],
        )  # fmt: skip
    if there:
        (tmp_path / "raw.bin").write_bytes(frames.tobytes())
        same(judged(tmp_path / "e.h5"), list(frames))
        return
    with pytest.raises(FrameError, match=r"raw\.bin"):
        judged(tmp_path / "e.h5")


def test_pixels_in_a_file_that_is_too_short_are_an_error(tmp_path):
    frames = stack(2)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_dataset(
            IMAGES, frames.shape, np.uint16,
            external=[(str(tmp_path / "raw.bin"), 0, frames.nbytes)],
        )  # fmt: skip
    (tmp_path / "raw.bin").write_bytes(frames[0].tobytes())
    found = judged(tmp_path / "e.h5")
    assert isinstance(found[1], str), "zeros behind the end of the file were read"


def external(path, name, inside="/entry/data/data"):
    with h5py.File(path, "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink(name, inside)
    return path


@pytest.mark.parametrize("kind", ["external", "virtual"])
@pytest.mark.parametrize("way", ["link", "link to link", "folder", "absolute", "subfolder"])
def test_links_are_looked_up_as_hdf5_does(tmp_path, monkeypatch, kind, way):
    frames = stack(2)
    run = tmp_path / "run"
    (run / "sub").mkdir(parents=True)
    name = {"absolute": "/gone/long/ago/d.h5", "subfolder": "sub/d.h5"}.get(way, "d.h5")
    source(run / ("sub/d.h5" if way == "subfolder" else "d.h5"), frames)
    if kind == "external":
        path = external(run / "m.h5", name)
    else:
        path = virtual(run / "m.h5", [(slice(0, 2), name, IMAGES, (2, *SHAPE), slice(None))], 2)
    if way.startswith("link"):
        (tmp_path / "links").mkdir()
        path = tmp_path / "links" / "m.h5"
        path.symlink_to("../run/m.h5")
    if way == "link to link":
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "n.h5").symlink_to("../links/m.h5")
        path = tmp_path / "more" / "n.h5"
    if way == "folder":
        (tmp_path / "other").symlink_to("run")
        path = tmp_path / "other" / "m.h5"
    same(judged(path), list(frames))
    monkeypatch.chdir(path.parent)
    same(judged(path.name), list(frames))


@pytest.mark.parametrize(
    ("kind", "variable"), [("external", "HDF5_EXT_PREFIX"), ("virtual", "HDF5_VDS_PREFIX")]
)
def test_hdf5s_own_variables_are_heeded(tmp_path, kind, variable):
    import subprocess
    import sys

    frames = stack(2)
    for folder in ("masters", "there"):
        (tmp_path / folder).mkdir()
    source(tmp_path / "there" / "d.h5", frames)
    if kind == "external":
        path = external(tmp_path / "masters" / "m.h5", "d.h5")
    else:
        path = tmp_path / "masters" / "m.h5"
        virtual(path, [(slice(0, 2), "d.h5", IMAGES, (2, *SHAPE), slice(None))], 2)
    code = (
        "import sys; from deepfreak.formats import read_frames; "
        "print(sum(frame.counts.sum() for frame in read_frames(sys.argv[1])))"
    )
    prefixes = [str(tmp_path / "there"), f"/gone:{tmp_path / 'there'}"]
    for prefix in [*prefixes, *(["${ORIGIN}/../there"] if kind == "virtual" else [])]:
        said = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, variable: prefix}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert int(said.stdout) == frames.sum()
    with pytest.raises(FrameError, match=r"d\.h5"):
        judged(path)


def test_a_master_of_masters_is_followed(tmp_path):
    frames = stack(2)
    source(tmp_path / "d.h5", frames)
    external(tmp_path / "inner.h5", "d.h5")
    path = external(tmp_path / "outer.h5", "inner.h5", "/entry/data/data_000001")
    same(judged(path), list(frames))
    (tmp_path / "d.h5").unlink()
    with pytest.raises(FrameError, match=r"d\.h5"):
        judged(path)


def test_a_group_behind_a_link_to_a_missing_file_is_an_error(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/data"] = h5py.ExternalLink("d.h5", "/entry/data")
    with pytest.raises(FrameError, match=r"d\.h5"):
        judged(tmp_path / "m.h5")


def test_a_soft_link_to_nothing_is_an_error(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/data/data"] = h5py.SoftLink("/entry/instrument/detector/data")
    with pytest.raises(FrameError, match="/entry"):
        judged(tmp_path / "m.h5")


def test_a_link_that_leads_back_to_itself_is_an_error(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/data/data"] = h5py.SoftLink("/entry/data/other")
        file["entry/data/other"] = h5py.SoftLink("/entry/data/data")
    with pytest.raises(FrameError, match="expected"):
        judged(tmp_path / "m.h5")


def test_a_stack_made_of_itself_is_an_error(tmp_path):
    path = tmp_path / "v.h5"
    virtual(path, [(slice(0, 2), ".", IMAGES, (2, *SHAPE), slice(None))], 2)
    with pytest.raises(FrameError, match="expected"):
        judged(path)


def test_stacks_made_of_each_other_stay_in_the_list_and_are_errors(tmp_path):
    for name, other in (("a.h5", "b.h5"), ("b.h5", "a.h5")):
        virtual(tmp_path / name, [(slice(0, 2), other, IMAGES, (2, *SHAPE), slice(None))], 2)
    files = find_files([tmp_path])
    assert len(files) == 2
    for file in files:
        with pytest.raises(FrameError, match="expected"):
            judged(file)


def test_a_master_of_a_master_hides_all_that_lies_behind(tmp_path):
    source(tmp_path / "d.h5", stack(2))
    virtual(tmp_path / "i.h5", [(slice(0, 2), "d.h5", IMAGES, (2, *SHAPE), slice(None))], 2)
    virtual(tmp_path / "o.h5", [(slice(0, 2), "i.h5", IMAGES, (2, *SHAPE), slice(None))], 2)
    assert find_files([tmp_path]) == [tmp_path / "o.h5"]


def test_a_master_whose_second_file_is_missing_does_not_hide_the_third(tmp_path):
    frames = stack(6)
    master = made.eiger(tmp_path, frames, files=3)
    (tmp_path / "run_data_000002.h5").unlink()
    assert find_files([tmp_path]) == [tmp_path / "run_data_000003.h5", master]
    found = [one for file in find_files([tmp_path]) for one in judged(file)]
    same(found, [*frames[4:], *frames[:2], "run_data_000002.h5"])


def test_a_virtual_master_whose_second_file_is_missing_hides_what_it_gives(tmp_path):
    frames = stack(6)
    parts = []
    for n in range(3):
        if n != 1:
            source(tmp_path / f"run_data_{n}.h5", frames[2 * n : 2 * n + 2])
        where = slice(2 * n, 2 * n + 2)
        parts.append((where, f"run_data_{n}.h5", IMAGES, (2, *SHAPE), slice(None)))
    master = virtual(tmp_path / "run_master.h5", parts, 6)
    found = [one for file in find_files([tmp_path]) for one in judged(file)]
    assert find_files([tmp_path]) == [master]
    same(found, [*frames[:2], "run_data_1.h5", "run_data_1.h5", *frames[4:]])


def test_folders_that_link_to_each_other_are_looked_through_once(tmp_path):
    (tmp_path / "a").mkdir()
    source(tmp_path / "a" / "one.h5", stack(1))
    (tmp_path / "a" / "back").symlink_to("..")
    (tmp_path / "b").symlink_to("a")
    assert len(find_files([tmp_path])) == 1
    elsewhere = tmp_path.parent / f"{tmp_path.name}-linked"
    elsewhere.mkdir()
    try:
        source(elsewhere / "two.h5", stack(1))
        (tmp_path / "c").symlink_to(elsewhere)
        assert {file.name for file in find_files([tmp_path])} == {"one.h5", "two.h5"}
        assert [Path(file).name for file in find_files([tmp_path / "c"])] == ["two.h5"]
    finally:
        shutil.rmtree(elsewhere)
