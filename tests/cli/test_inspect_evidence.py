"""What `deepfreak inspect` shows of the evidence."""

import json

import numpy as np
from PIL import Image

from deepfreak.cli import main
from tests.unit.evidence.made import flat, on_lattice, spots
from tests.unit.formats.made import MINICBF, cbf


def crystal(path):
    rng = np.random.default_rng(1)
    shape = (400, 500)
    places = on_lattice(rng, (23.0, 4.0), (-5.0, 29.0), 0.5, shape)
    header = MINICBF.replace("60.50, 70.25", "250.5, 200.25")
    path.write_bytes(cbf(flat(rng, 0.5 + spots(places, 200, 0.8, shape), shape), header=header))
    return places


def test_the_evidence_stands_in_the_table_and_in_json(tmp_path, capsys):
    path = tmp_path / "crystal.cbf"
    places = crystal(path)
    assert main(["inspect", "--format", "json", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)["evidence"]
    assert abs(found["peaks"]["7"] - len(places)) <= 3
    assert found["peaks"]["5"] >= found["peaks"]["7"] >= found["peaks"]["10"]
    assert found["ring_share"] < 0.1
    assert (found["ring_center_origin"], found["ring_center_px"]) == ("given", [200.25, 250.5])
    assert (found["lattices"], found["photon"], found["photon_origin"]) == (1, 1.0, "header")
    assert 0.4 < found["noise"] < 1
    assert 2 < found["d_min_A"] < 5
    assert main(["inspect", str(path)]) == 0
    table = capsys.readouterr().out
    assert f"peaks        {found['peaks']['5']} (z > 7: {found['peaks']['7']}" in table
    assert f"d_min        {found['d_min_A']:.2f} A" in table
    assert "lattice      " in table
    assert "photon       1 counts [header]" in table


def test_what_cannot_be_told_is_unknown(tmp_path, capsys):
    path = tmp_path / "empty.npy.tif"
    Image.fromarray(flat(np.random.default_rng(2), 5, (200, 200)).astype(np.uint16)).save(path)
    assert main(["inspect", "--format", "json", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)["evidence"]
    assert found["peaks"] == {"5": 0, "7": 0, "10": 0}
    assert found["d_min_A"] is None
    assert found["lattices"] is None
    assert (found["ring_center_px"], found["ring_center_origin"]) == (None, "unknown")
    assert found["photon_origin"] == "estimated"
    assert main(["inspect", str(path)]) == 0
    assert "d_min        unknown" in capsys.readouterr().out


def test_the_picture_circles_the_peaks(tmp_path, capsys):
    path, picture = tmp_path / "crystal.cbf", tmp_path / "crystal.png"
    crystal(path)
    assert main(["inspect", str(path), "--picture", str(picture)]) == 0
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    circle = np.abs(pixels - [0x00, 0xE5, 0xFF]).sum(axis=2) < 60
    assert circle.sum() > 500
