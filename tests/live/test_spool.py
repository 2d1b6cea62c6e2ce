import pytest

from deepfreak.errors import FrameError, OutputError
from deepfreak.live.messages import Arrival
from deepfreak.live.spool import Spool, read

OWNER = "0123456789abcdef"


def arrival(number: int, payload: bytes = b"photons") -> Arrival:
    truth = {"label": "weak", "ice": False}
    return Arrival(
        series="a/b\n5", number=number, payload=payload, received=1.5, sent=None, truth=truth
    )


def test_a_frame_comes_back_as_it_was(tmp_path):
    spool = Spool(tmp_path / "spool", OWNER)
    path = spool.put(arrival(3, b"\x00\xff" * 1000))
    found = read(path)
    assert bytes(found.payload) == b"\x00\xff" * 1000
    assert (found.series, found.number, found.received) == ("a/b\n5", 3, 1.5)
    assert found.truth == {"label": "weak", "ice": False}


def test_what_is_left_is_found_in_order_by_the_next_run(tmp_path):
    spool = Spool(tmp_path, OWNER)
    paths = [spool.put(arrival(number)) for number in (7, 3, 5)]
    spool.drop(paths[1])
    again = Spool(tmp_path, OWNER)
    assert [found.number for _, found in again.left()] == [7, 5]
    assert again.waiting_bytes == sum(path.stat().st_size for path in (paths[0], paths[2]))
    # and none of their files is overwritten
    assert again.put(arrival(9)) not in paths


@pytest.mark.parametrize("length", [0, 3, 15, 40, -1])
def test_a_torn_file_was_never_ours(tmp_path, length):
    spool = Spool(tmp_path, OWNER)
    path = spool.put(arrival(1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FrameError, match="torn"):
        read(path)
    assert list(Spool(tmp_path, OWNER).left()) == []
    assert not path.exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    spool = Spool(tmp_path, OWNER)

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.writev", no_room)
    with pytest.raises(OutputError, match="no space left"):
        spool.put(arrival(1))
    assert list(tmp_path.iterdir()) == []
    assert spool.waiting_bytes == 0


@pytest.mark.parametrize("damage", [b"\0" * 30, b'{"series": 1', b'{"what": 1}'])
def test_a_head_of_other_bytes_was_never_ours(tmp_path, damage):
    path = Spool(tmp_path, OWNER).put(arrival(1))
    content = path.read_bytes()
    metadata = content[16 : -len(b"photons")]
    path.write_bytes(content[:16] + damage.ljust(len(metadata)) + b"photons")
    with pytest.raises(FrameError, match="other bytes"):
        read(path)
    assert list(Spool(tmp_path, OWNER).left()) == []


def test_a_frame_that_cannot_be_read_now_is_not_thrown_away(tmp_path, monkeypatch):
    path = Spool(tmp_path, OWNER).put(arrival(1))

    def fails(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pathlib.Path.read_bytes", fails)
    with pytest.raises(OutputError, match="Input/output error"):
        list(Spool(tmp_path, OWNER).left())
    assert path.exists()


def test_two_sessions_do_not_share_a_folder(tmp_path):
    with (
        Spool(tmp_path, OWNER).held(),
        pytest.raises(OutputError, match="another session"),
        Spool(tmp_path, OWNER).held(),
    ):
        pass
    with Spool(tmp_path, OWNER).held():
        pass


def test_bytes_are_counted_though_a_frame_comes_while_another_goes(tmp_path):
    spool = Spool(tmp_path, OWNER)
    first = spool.put(arrival(1))

    class Between(dict):
        def pop(self, *given):
            spool.put(arrival(2))  # the receiver has its turn here
            return super().pop(*given)

    spool._sizes = Between(spool._sizes)
    spool.drop(first)
    assert spool.waiting_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_bytes_that_wait_are_counted(tmp_path):
    spool = Spool(tmp_path, OWNER)
    paths = [spool.put(arrival(number, b"x" * 1000)) for number in range(3)]
    assert spool.waiting_bytes == sum(path.stat().st_size for path in paths)
    for path in paths:
        spool.drop(path)
    assert spool.waiting_bytes == 0


def test_nothing_that_is_not_its_own_is_read_removed_or_written_over(tmp_path):
    theirs = {
        "000000000000.frame": b"detector data",
        "scan.frame": b"",
        "deepfreak-notes.frame": b"DFS1",
        "deepfreak-0123456789abcdef-000000000000.frame.bak": b"a copy",
    }
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)
    spool = Spool(tmp_path, OWNER)
    assert list(spool.left()) == []
    path = spool.put(arrival(1))
    spool.drop(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == theirs


def test_a_file_in_the_way_is_not_written_over(tmp_path):
    path = tmp_path / f"deepfreak-{OWNER}-000000000000.frame"
    path.write_bytes(b"not read before")
    with pytest.raises(OutputError, match="exists"):
        Spool(tmp_path, OWNER).put(arrival(1))
    assert path.read_bytes() == b"not read before"


def test_frames_of_another_session_are_refused_and_left(tmp_path):
    path = Spool(tmp_path, "fedcba9876543210").put(arrival(1))
    torn = tmp_path / "deepfreak-fedcba9876543210-000000000001.frame"
    torn.write_bytes(b"DFS")
    with pytest.raises(OutputError, match="give another --spool"):
        list(Spool(tmp_path, OWNER).left())
    assert path.exists()
    assert torn.exists()
