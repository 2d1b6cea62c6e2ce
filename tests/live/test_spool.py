import pytest

from deepfreak.errors import FrameError, OutputError
from deepfreak.live.events import Arrival
from deepfreak.live.spool import Spool, read


def arrival(number: int, payload: bytes = b"photons") -> Arrival:
    truth = {"label": "weak", "ice": False}
    return Arrival(
        series="a/b\n5", number=number, payload=payload, received=1.5, sent=None, truth=truth
    )


def test_a_frame_comes_back_as_it_was(tmp_path):
    spool = Spool(tmp_path / "spool")
    path = spool.put(arrival(3, b"\x00\xff" * 1000))
    found = read(path)
    assert bytes(found.payload) == b"\x00\xff" * 1000
    assert (found.series, found.number, found.received) == ("a/b\n5", 3, 1.5)
    assert found.truth == {"label": "weak", "ice": False}


def test_what_is_left_is_found_in_order_by_the_next_run(tmp_path):
    spool = Spool(tmp_path)
    paths = [spool.put(arrival(number)) for number in (7, 3, 5)]
    spool.drop(paths[1])
    again = Spool(tmp_path)
    assert [found.number for _, found in again.left()] == [7, 5]
    assert again.waiting_bytes == sum(path.stat().st_size for path in (paths[0], paths[2]))
    # and no file of theirs is written over
    assert again.put(arrival(9)) not in paths


@pytest.mark.parametrize("length", [0, 3, 15, 40, -1])
def test_a_torn_file_was_never_ours(tmp_path, length):
    spool = Spool(tmp_path)
    path = spool.put(arrival(1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FrameError, match="torn"):
        read(path)
    assert list(Spool(tmp_path).left()) == []
    assert not path.exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    spool = Spool(tmp_path)

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.writev", no_room)
    with pytest.raises(OutputError, match="no space left"):
        spool.put(arrival(1))
    assert list(tmp_path.iterdir()) == []
    assert spool.waiting_bytes == 0


@pytest.mark.parametrize("damage", [b"\0" * 30, b'{"series": 1', b'{"what": 1}'])
def test_a_head_of_other_bytes_was_never_ours(tmp_path, damage):
    path = Spool(tmp_path).put(arrival(1))
    content = path.read_bytes()
    facts = content[16 : -len(b"photons")]
    path.write_bytes(content[:16] + damage.ljust(len(facts)) + b"photons")
    with pytest.raises(FrameError, match="other bytes"):
        read(path)
    assert list(Spool(tmp_path).left()) == []


def test_a_frame_that_cannot_be_read_now_is_not_thrown_away(tmp_path, monkeypatch):
    path = Spool(tmp_path).put(arrival(1))

    def fails(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pathlib.Path.read_bytes", fails)
    with pytest.raises(OutputError, match="Input/output error"):
        list(Spool(tmp_path).left())
    assert path.exists()


def test_two_sessions_do_not_share_a_folder(tmp_path):
    with (
        Spool(tmp_path).held(),
        pytest.raises(OutputError, match="another session"),
        Spool(tmp_path).held(),
    ):
        pass
    with Spool(tmp_path).held():
        pass


def test_bytes_are_counted_though_a_frame_comes_while_another_goes(tmp_path):
    spool = Spool(tmp_path)
    first = spool.put(arrival(1))

    class Between(dict):
        def pop(self, *given):
            spool.put(arrival(2))  # the receiver has its turn here
            return super().pop(*given)

    spool._sizes = Between(spool._sizes)
    spool.drop(first)
    assert spool.waiting_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_bytes_that_wait_are_counted(tmp_path):
    spool = Spool(tmp_path)
    paths = [spool.put(arrival(number, b"x" * 1000)) for number in range(3)]
    assert spool.waiting_bytes == sum(path.stat().st_size for path in paths)
    for path in paths:
        spool.drop(path)
    assert spool.waiting_bytes == 0
