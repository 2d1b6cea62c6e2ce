import stat
import struct
import zipfile

import pytest

from deepfreak.datasets.diffranet import import_diffranet
from deepfreak.datasets.diffranet.archive import open_archive
from deepfreak.errors import DatasetError
from tests.unit.datasets.diffranet.replica import image, layout, names, write_zip

GOOD = {"synthetic/train/1/a.png": image(1)}


def refusal(source, tmp_path):
    """Return the one line that importing `source` is refused with."""
    with pytest.raises(DatasetError) as caught:
        import_diffranet(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../synthetic/train/1/b.png",
        "synthetic/train/1/../../../../b.png",
        "/synthetic/train/1/b.png",
        "..\\synthetic\\train\\1\\b.png",
        "C:\\synthetic\\train\\1\\b.png",
    ],
)
def test_a_path_that_leads_outside_is_refused(tmp_path, name):
    source = write_zip(tmp_path / "in.zip", GOOD | {name: image(2)})
    assert "leads outside" in refusal(source, tmp_path)
    assert names(tmp_path) == ["in.zip"]


def test_backslashes_of_a_windows_archive_are_folders(tmp_path):
    source = write_zip(tmp_path / "in.zip", {"synthetic\\train\\1\\a.png": image(1)})
    assert import_diffranet(source, tmp_path / "out").counts == {"synthetic": {"train": 1}}


def test_a_link_in_an_archive_is_refused(tmp_path):
    source = write_zip(tmp_path / "in.zip", GOOD)
    link = zipfile.ZipInfo("synthetic/train/1/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(source, "a") as file:
        file.writestr(link, "/etc/hostname")
    assert "link.png' is a link" in refusal(source, tmp_path)


def test_a_link_in_a_folder_is_refused(tmp_path):
    (tmp_path / "in/synthetic/train/1").mkdir(parents=True)
    (tmp_path / "in/synthetic/train/1/a.png").symlink_to("/etc/hostname")
    assert "found a link" in refusal(tmp_path / "in", tmp_path)


def test_a_member_that_unpacks_to_many_times_its_size_is_refused(tmp_path):
    files = GOOD | {"synthetic/train/1/bomb.png": bytes(5 << 20)}
    source = write_zip(tmp_path / "in.zip", files, compression=zipfile.ZIP_DEFLATED)
    assert "bomb.png' unpacks from" in refusal(source, tmp_path)


@pytest.mark.parametrize(
    ("limit", "message"),
    [({"max_unpacked_bytes": 400_000}, "when unpacked"), ({"max_members": 3}, "at most 3 members")],
)
def test_an_archive_of_too_many_bytes_or_members_is_refused(tmp_path, limit, message):
    source = write_zip(tmp_path / "in.zip", layout())
    with pytest.raises(DatasetError, match=message), open_archive(source, **limit):
        pass


def changed(path, find, offset, form, value):
    """Overwrite a field of the first record that starts with `find`."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, content.index(find) + offset, value)
    path.write_bytes(content)
    return path


def test_an_encrypted_member_is_refused(tmp_path):
    source = changed(write_zip(tmp_path / "in.zip", GOOD), b"PK\1\2", 8, "<H", 1)
    assert "is encrypted" in refusal(source, tmp_path)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    source = write_zip(tmp_path / "in.zip", GOOD, compression=zipfile.ZIP_DEFLATED)
    changed(source, b"PK\1\2", 24, "<L", 1000)
    assert "a.png is damaged or truncated" in refusal(source, tmp_path)


def test_an_unknown_compression_is_refused(tmp_path):
    source = write_zip(tmp_path / "in.zip", GOOD)
    changed(source, b"PK\1\2", 10, "<H", 77)
    assert "a.png is damaged" in refusal(source, tmp_path)


def test_a_member_whose_bytes_changed_is_refused(tmp_path):
    source = write_zip(tmp_path / "in.zip", GOOD)
    content = bytearray(source.read_bytes())
    content[5000] ^= 0xFF
    source.write_bytes(content)
    assert "a.png is damaged or truncated" in refusal(source, tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 5000, -10])
def test_a_truncated_archive_is_refused(tmp_path, keep):
    source = write_zip(tmp_path / "in.zip", GOOD)
    source.write_bytes(source.read_bytes()[:keep])
    assert "expected a zip file" in refusal(source, tmp_path)


def test_a_name_that_is_twice_in_an_archive_is_refused(tmp_path):
    source = write_zip(tmp_path / "in.zip", GOOD)
    with zipfile.ZipFile(source, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("synthetic/train/1/a.png", b"other")
    assert "is in it twice" in refusal(source, tmp_path)


def test_nothing_at_a_path_is_said_so(tmp_path):
    assert "found nothing" in refusal(tmp_path / "no.zip", tmp_path)


def test_members_come_in_the_order_of_their_paths(tmp_path):
    source = write_zip(tmp_path / "in.zip", {"b/c": b"1", "a": b"2", "b/a": b"3", "empty/": b""})
    with open_archive(source) as members:
        assert [str(member.path) for member in members] == ["a", "b/a", "b/c"]
        assert [member.read() for member in members] == [b"2", b"3", b"1"]
