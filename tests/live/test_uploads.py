"""Uploaded files cannot read other files, stop the server or exhaust it."""

import bz2
import gzip
import io
import os
import re
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from deepfreak.errors import FrameError, InputError, ReadingStoppedError
from deepfreak.formats.files import open_frames
from deepfreak.formats.guarded import links_in_process
from deepfreak.isolation import Limits
from deepfreak.live.dashboard.classify_upload import LIMITS, UploadClassifier
from deepfreak.live.receive.folder.identify import digest_of_bytes
from deepfreak.models import load_model
from deepfreak.screening.policy import find_policy
from tests.evidence_models import hit, save_made_model
from tests.live.test_dashboard import running
from tests.live.test_decide import POLICY
from tests.unit.formats import made

REFERS = "expected a file that holds all of its data, found one that refers to other files"
SHAPE = (64, 64)
COUNTS = made.photons(SHAPE)


@pytest.fixture(scope="module")
def judge():
    judge = UploadClassifier(None, POLICY)
    yield judge
    judge.close()


@pytest.fixture
def secret(tmp_path):
    """A file of the server that uploads must not read."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["data"] = COUNTS[None]
    return path


def external_link(file, target):
    file["entry/data/data_000001"] = h5py.ExternalLink(target, "data")


def external_link_as_a_group(file, target):
    file["entry"] = h5py.ExternalLink(target, "/")


def external_storage(file, target):
    file.create_dataset("entry/data/data", (1, *SHAPE), "u2", external=[(target, 0, 8192)])


def external_storage_behind_a_soft_link(file, target):
    file.create_dataset("hidden/deep/in/there", (1, *SHAPE), "u2", external=[(target, 0, 8192)])
    file["entry/data/data"] = h5py.SoftLink("/hidden/deep/in/there")


def virtual(file, target):
    layout = h5py.VirtualLayout((1, *SHAPE), "u2")
    layout[:] = h5py.VirtualSource(target, "data", (1, *SHAPE))
    file.create_virtual_dataset("entry/data/data", layout)


def virtual_of_external_storage(file, target):
    file.create_dataset("bytes", (1,), "u2", external=[(target, 0, 2)])
    layout = h5py.VirtualLayout((1, *SHAPE), "u2")
    for row in range(4):
        layout[0, row, row : row + 1] = h5py.VirtualSource(".", "bytes", (1,))
    file.create_virtual_dataset("entry/data/data", layout)


def mask_elsewhere(file, target):
    file["entry/data/data"] = COUNTS[None]
    file["entry/instrument/detector/pixel_mask"] = h5py.ExternalLink(target, "data")


KINDS = [
    external_link,
    external_link_as_a_group,
    external_storage,
    external_storage_behind_a_soft_link,
    virtual,
    virtual_of_external_storage,
    mask_elsewhere,
]


def content_of(path, kind, target):
    with h5py.File(path, "w") as file:
        kind(file, os.fspath(target))
    return path.read_bytes()


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_refers_to_other_files_is_refused_whether_they_exist_or_not(
    judge, tmp_path, secret, kind, packed
):
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packed]
    answers = set()
    for target in (secret, tmp_path / "nothing.h5", "/etc/shadow", "/proc/self/environ"):
        content = pack(content_of(tmp_path / "sent.h5", kind, target))
        with pytest.raises(FrameError, match=REFERS) as caught:
            judge(content, packed or ".h5")
        answers.add(str(caught.value))
    assert len(answers) == 1
    assert "/" not in answers.pop()


@pytest.mark.parametrize("target", ["secret.bin", "nothing.bin", "../../etc/passwd"])
def test_a_header_that_names_a_file_of_pixels_is_refused(judge, tmp_path, target):
    (tmp_path / "secret.bin").write_bytes(bytes(8192))
    header = (
        f"{{\nHeaderID = EH:000001:000000:000000 ;\nDim_1 = 64 ;\nDim_2 = 64 ;\n"
        f"DataType = UnsignedShort ;\nByteOrder = LowByteFirst ;\nSize = 8192 ;\n"
        f"EDF_BinaryFileName = {target} ;\nEDF_BinaryFileSize = 8192 ;\n"
    )
    with pytest.raises(FrameError, match=REFERS):
        judge(f"{header:<1022}}}\n".encode(), ".edf")


def test_virtual_data_of_the_file_itself_are_judged(judge, tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["raw"] = made.photons((512, 512))[None]
        layout = h5py.VirtualLayout((1, 512, 512), "u2")
        layout[:] = h5py.VirtualSource(".", "raw", (1, 512, 512))
        file.create_virtual_dataset("entry/data/data", layout)
    answer = judge((tmp_path / "own.h5").read_bytes(), ".h5")
    told = {"label", "probabilities", "p_crystal", "decision", "reasons", "signs", "ms"}
    assert set(answer) == told


def test_nothing_outside_can_be_opened_even_where_a_check_is_passed(judge, tmp_path, secret):
    content_of(tmp_path / "master.h5", external_link, secret)
    master = str(tmp_path / "master.h5")
    assert links_in_process(master, place=None)["files"] == [str(secret)]
    judge(made.cbf(made.photons((512, 512))), ".cbf")
    process = judge._process
    for path in (secret, __file__, "/etc/passwd"):
        with pytest.raises(InputError, match="PermissionError"):
            process.call(digest_of_bytes, str(path))
    # by HDF5, which does not ask Python
    assert process.call(links_in_process, master, place=None)["files"] == []
    assert process.call(digest_of_bytes, os.__file__)  # of Python itself


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (b"no image", ""),
        (b"no image", ".cbf"),
        (b"\x89HDF\r\n\x1a\n and nothing else", ".h5"),
        (b"II*\0\x08\0\0\0", ".tif"),
        (gzip.compress(b"no image"), ".gz"),
        (b"no archive", ".gz"),
        (b"{\nHeaderID = x", ".edf"),
    ],
    ids=["text", "cbf", "hdf5", "tiff", "gzip", "no gzip", "edf"],
)
def test_what_is_no_image_is_one_line_that_names_no_path(judge, content, suffix):
    with pytest.raises(InputError) as caught:
        judge(content, suffix)
    assert str(caught.value).isprintable()
    assert not re.search(r"/|deepfreak-", str(caught.value))


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_a_bomb_is_refused_before_it_fills_memory_or_disk(judge, pack, suffix):
    bomb = pack(bytes(LIMITS.file_bytes + (1 << 20)))
    assert len(bomb) < 1 << 20
    with pytest.raises(InputError):
        judge(bomb, suffix)


def test_a_file_that_keeps_its_reader_busy_is_stopped_and_the_next_is_classified(judge):
    start = time.monotonic()
    with pytest.raises(ReadingStoppedError, match="damaged"):
        judge(made.slow_bz2(), ".cbf.bz2", limits=Limits(cpu_s=1.0, file_bytes=1 << 31))
    assert time.monotonic() - start < 20
    assert judge(made.cbf(made.photons((512, 512))), ".cbf")["label"]


def test_only_what_is_asked_to_be_alone_is_refused(tmp_path, secret):
    path = tmp_path / "master.h5"
    content_of(path, external_link, secret)
    with open_frames(path) as file:
        assert file.count == 1
    with pytest.raises(FrameError, match=REFERS), open_frames(path, alone=True):
        pass


def test_the_server_answers_one_line_whatever_a_file_refers_to(judge, tmp_path, secret):
    answers = set()
    with running(classify=judge) as client:
        for target in (secret, tmp_path / "nothing.h5"):
            content = content_of(tmp_path / "sent.h5", external_storage, target)
            answer = client.post("/classify?name=a.h5", content=content)
            answers.add((answer.status_code, answer.text))
        good = client.post("/classify", content=made.cbf(made.photons((512, 512))))
    ((status, text),) = answers
    assert status == 400
    assert "refers to other files" in text
    assert str(tmp_path) not in text
    assert good.json()["label"]


def test_a_model_of_evidence_says_why_and_may_be_sent_any_type_of_counts(tmp_path):
    path = save_made_model(tmp_path)
    model = load_model(path)
    judge = UploadClassifier(path, find_policy(model, model=path)[0])
    counts = hit(np.random.default_rng(0), spots_=25).counts
    try:
        for dtype in (np.uint16, np.uint32, np.int32, np.float32):
            buffer = io.BytesIO()
            Image.fromarray(counts.astype(dtype)).save(buffer, "TIFF")
            found = judge(buffer.getvalue(), ".tif")
            assert found["decision"] == "keep"
            assert found["signs"]["peaks"] >= 20
            assert found["reasons"][0].startswith(f"{found['signs']['peaks']} peaks")
    finally:
        judge.close()
