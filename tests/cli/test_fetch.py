"""`deepfreak data fetch` against a server on this machine that behaves in every way but well."""

import gzip
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gemmi
import httpx
import pytest
from click.testing import CliRunner

from deepfreak.cli.data.files import fetch
from deepfreak.errors import DeepFreakError, FetchError, OutputError
from deepfreak.physics.structure_factors import Model, structure_factors_for
from deepfreak.physics.structure_factors.archive import (
    _check_response,
    canonical_id,
    fetch_entry,
)


def entry(name="4RVY", *, cell=True, atoms=3):
    """An mmCIF file as the archive has it, as bytes."""
    structure = gemmi.Structure()
    structure.name = name
    structure.cell = gemmi.UnitCell(30, 40, 50, 90, 90, 90)
    structure.spacegroup_hm = "P 21 21 21"
    chain, model = gemmi.Chain("A"), gemmi.Model(1)
    for number in range(atoms):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number + 1, " ")
        atom.name, atom.element, atom.b_iso = "CA", gemmi.Element("C"), 20
        atom.pos = gemmi.Position(5.0 * number, 1, 2)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    block = structure.make_mmcif_block()
    if not cell:
        block.find_mmcif_category("_cell.").erase()
    return block.as_string().encode()


class Archive(ThreadingHTTPServer):
    """Answers each path from `answers`, and records the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers = {}
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        with suppress(ConnectionError):
            self.server.answers.get(self.path, not_found)(self)

    def log_message(self, *_):
        """Say nothing."""


def send(body, *, status=200, kind="application/gzip", length=None, **headers):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def not_found(handler):
    handler.send_error(404)


def drip_body(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"\x1f")
        time.sleep(0.05)


def drip_headers(handler):
    for _ in range(200):
        handler.wfile.write(b"H")
        time.sleep(0.05)


def stay_silent(_):
    time.sleep(5)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65536))


@pytest.fixture
def archive(monkeypatch):
    # The test must not go through a proxy of the machine.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Archive() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def good(archive):
    archive.answers["/4RVY.cif.gz"] = send(gzip.compress(entry()))
    return archive


def run(*arguments):
    return CliRunner().invoke(fetch, [*arguments])


def test_fetch_stores_the_file_and_prints_where(good, tmp_path):
    result = run("4rvy", "--out", str(tmp_path), "--url", good.url)
    assert result.exit_code == 0
    path = tmp_path / "4RVY.cif.gz"
    assert result.stdout.strip() == str(path)
    assert gzip.decompress(path.read_bytes()) == entry()
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_fetched_is_what_a_recipe_means_by_its_id(good, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFREAK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPFREAK_PDB_URL", f"{good.url}/")
    assert run("pdb_00004rvy").exit_code == 0
    assert structure_factors_for(Model(file="pdb:4RVY"), 4).F.any()


def test_a_file_that_is_there_stays_unless_told_otherwise(good, tmp_path):
    path = tmp_path / "4RVY.cif.gz"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        fetch_entry("4RVY", folder=tmp_path, url=good.url)
    assert path.read_text() == "mine"
    assert good.asked == []
    fetch_entry("4RVY", folder=tmp_path, url=good.url, overwrite=True)
    assert gzip.decompress(path.read_bytes()) == entry()


def test_progress_ends_with_all_bytes(good, tmp_path):
    seen = []
    path = fetch_entry(
        "4RVY", folder=tmp_path, url=good.url, progress=lambda *step: seen.append(step)
    )
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_a_redirect_is_followed_but_not_for_ever(good, tmp_path):
    good.answers["/old/4RVY.cif.gz"] = send(b"", status=302, Location="/4RVY.cif.gz")
    assert fetch_entry("4RVY", folder=tmp_path, url=f"{good.url}/old").exists()
    good.answers["/loop/4RVY.cif.gz"] = send(b"", status=302, Location="/loop/4RVY.cif.gz")
    with pytest.raises(FetchError, match="redirect"):
        fetch_entry("4RVY", folder=tmp_path, url=f"{good.url}/loop", overwrite=True)
    assert len(good.asked) < 12


def test_a_redirect_away_from_https_is_not_followed():
    asked, plain = (httpx.Request("GET", f"{scheme}://x/4RVY") for scheme in ("https", "http"))
    response = httpx.Response(200, request=plain, history=[httpx.Response(302, request=asked)])
    with pytest.raises(FetchError, match="without https"):
        _check_response(response, "https://x/4RVY")


WHOLE = gzip.compress(entry())
PAGE = b"<!DOCTYPE html><html>Please log in</html>"


@pytest.mark.timing
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (not_found, "no such entry; check the id"),
        (send(b"", status=503), "answered 503"),
        (send(PAGE, kind="text/html"), "a web page"),
        (send(b""), "0 other bytes"),
        (send(entry()), "other bytes"),
        (send(WHOLE[:-10]), "intact gzip"),
        (send(WHOLE[:100], length=len(WHOLE)), "cannot be fetched"),
        (send(gzip.compress(PAGE)), "atoms, found none"),
        (send(gzip.compress(b"data_4RVY\nloop_\n_a.b\n")), "PDB or mmCIF"),
        (send(gzip.compress(entry(atoms=0))), "found none"),
        (send(gzip.compress(entry(cell=False))), "unit cell"),
        (send(gzip.compress(entry("1ABC"))), "expected entry 4RVY, the file is of 1ABC"),
        (send(gzip.compress(entry("X"))), "expected entry 4RVY, the file is of X"),
        (send(WHOLE, length=10**12), "larger than the limit"),
        (send(gzip.compress(bytes(3_000_000))), "at most 2 MB"),
        (endless, "larger than the limit"),
        (drip_body, "within 0.6 s"),
        (drip_headers, "within 0.6 s"),
        (stay_silent, "within 0.6 s"),
    ],
)
def test_anything_but_the_file_is_refused_in_one_line_and_leaves_nothing(
    archive, tmp_path, answer, complaint
):
    archive.answers["/4RVY.cif.gz"] = answer
    began = time.monotonic()
    with pytest.raises(FetchError, match=complaint) as caught:
        fetch_entry(
            "4RVY",
            folder=tmp_path,
            url=archive.url,
            timeout_s=0.6,
            max_bytes=1_000_000,
            max_text_bytes=2_000_000,
        )
    assert time.monotonic() - began < 15
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_keeps_the_old_file(archive, tmp_path):
    path = tmp_path / "4RVY.cif.gz"
    path.write_text("mine")
    with pytest.raises(FetchError):
        fetch_entry("4RVY", folder=tmp_path, url=archive.url, overwrite=True)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "ftp://x", "nonsense", "http://["]
)
def test_without_a_network_or_a_sensible_address_one_line_says_so(tmp_path, monkeypatch, url):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(FetchError, match="--url") as caught:
        fetch_entry("4RVY", folder=tmp_path, url=url, timeout_s=20)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "pdb_id", ["", "4RV", "4RVYX", "RVYX", "../../etc", "4RV/", "pdb_4rvy", "4RV\n", "٤RVY"]
)
def test_what_is_no_pdb_id_never_reaches_a_server(archive, tmp_path, pdb_id):
    with pytest.raises(FetchError, match="PDB id"):
        fetch_entry(pdb_id, folder=tmp_path, url=archive.url)
    assert archive.asked == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("4rvy", "4RVY"),
        ("pdb_00004rvy", "4RVY"),
        ("PDB_00004RVY", "4RVY"),
        ("pdb_1000ABCD", "pdb_1000abcd"),
    ],
)
def test_every_way_of_writing_an_id_means_one_entry(written, meant):
    assert canonical_id(written) == meant


def test_a_folder_that_cannot_be_written_is_an_output_error(good, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fetch_entry("4RVY", folder=tmp_path / "file", url=good.url)


def test_the_command_passes_errors_on(archive, tmp_path):
    result = run("4RVY", "--out", str(tmp_path), "--url", archive.url)
    assert isinstance(result.exception, DeepFreakError)
    assert run("4RVY", "--timeout", "0").exit_code == 2
    assert "mmCIF" in run("--help").stdout
