"""A small valid file of each kind that is read beside frames, to be damaged."""

import json
from importlib import resources

import gemmi
import h5py
import numpy as np

from deepfreak.datasets import Dataset
from deepfreak.features.glcm import GLCM
from deepfreak.models import Forest, save_model, train
from deepfreak.networks.export import export_onnx
from tests import fuzzing
from tests.labelled import write_labelled
from tests.unit.formats import made
from tests.unit.networks.served import SMALL, model_of

SHAPE = (64, 96)
GEOM = """\
photon_energy = 9500 eV
clen = 0.12 m
res = 5814
adu_per_photon = 1
data = /entry/data/data
mask = /entry/mask
mask_good = 0x0000
mask_bad = 0xffff
dim0 = %
dim1 = ss
dim2 = fs
rigid_group_all = p0
rigid_group_collection_all = all
bad_corner/min_x = -20.0
bad_corner/max_x = -10.0
bad_corner/min_y = -20.0
bad_corner/max_y = -10.0
p0/min_fs = 0
p0/max_fs = 95
p0/min_ss = 0
p0/max_ss = 63
p0/corner_x = -48.5
p0/corner_y = -32.25
p0/fs = +1.0x +0.001y
p0/ss = -0.001x +1.0y
"""
PONI = """\
# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000172, "max_shape": [64, 96], "orientation": 3}
Distance: 0.12
Poni1: 0.0055
Poni2: 0.0082
Rot1: 0.001
Rot2: -0.002
Rot3: 0.0
Wavelength: 1.0e-10
"""
EXPT = {
    "__id__": "ExperimentList",
    "beam": [{"direction": [0.0, 0.0, 1.0], "wavelength": 1.3}],
    "detector": [
        {
            "panels": [
                {
                    "name": "p",
                    "type": "SENSOR_PAD",
                    "fast_axis": [1.0, 0.0, 0.0],
                    "slow_axis": [0.0, -1.0, 0.0],
                    "origin": [-8.2, 5.5, -120.0],
                    "pixel_size": [0.172, 0.172],
                    "image_size": [96, 64],
                    "trusted_range": [0, 65000],
                    "gain": 1.0,
                    "raw_image_offset": [0, 0],
                    "mask": [],
                }
            ],
            "hierarchy": {
                "origin": [0.0, 0.0, 0.0],
                "fast_axis": [1.0, 0.0, 0.0],
                "slow_axis": [0.0, 1.0, 0.0],
                "children": [{"panel": 0}],
            },
        }
    ],
    "experiment": [{"beam": 0, "detector": 0}],
}


def samples(folder):
    """Write the files; return for each kind its path, what reads it and with what."""
    folder.mkdir()
    image = folder / "frame.h5"
    with h5py.File(image, "w") as file:
        file["entry/data/data"] = made.photons(SHAPE)[None]
        file["entry/mask"] = np.zeros(SHAPE, np.uint16)
    for name, text in (("a.geom", GEOM), ("a.poni", PONI), ("a.expt", json.dumps(EXPT, indent=1))):
        (folder / name).write_text(text)
    shipped = resources.files("deepfreak.models") / "shipped"
    recipes = resources.files("deepfreak.recipes")
    (folder / "a.toml").write_bytes((recipes / "diffranet.toml").read_bytes())
    _write_crystal(folder)
    _write_network(folder / "a.safetensors")
    export_onnx(model_of(SMALL), folder / "a.onnx")
    _write_forest(folder)
    return {
        "geom": (folder / "a.geom", fuzzing.geometry, (image,)),
        "poni": (folder / "a.poni", fuzzing.geometry, (image,)),
        "expt": (folder / "a.expt", fuzzing.geometry, (image,)),
        "recipe": (folder / "a.toml", fuzzing.recipe, ()),
        "mmcif": (folder / "a.cif", fuzzing.coordinates, ()),
        "pdb": (folder / "a.pdb", fuzzing.coordinates, ()),
        "mtz": (folder / "a.mtz", fuzzing.reflections, ()),
        "onnx": (folder / "a.onnx", fuzzing.model, ()),
        "forest": (folder / "a.model", fuzzing.model, ()),
        "model": (shipped / "diffranet.model", fuzzing.model, ()),
        "safetensors": (folder / "a.safetensors", fuzzing.network, ()),
    }


def _write_forest(folder):
    """Write a small forest over patterns."""
    path = write_labelled(folder / "images.h5", np.arange(40) % 5, side=64)
    with Dataset.open(path) as data:
        model = train(data, extractor=GLCM(distances=(1,)), classifier=Forest(trees=4))
    save_model(model, folder / "a.model")


def _write_crystal(folder):
    """Write the same small crystal as mmCIF and PDB, and reflections as MTZ."""
    rng = np.random.default_rng(0)
    structure = gemmi.Structure()
    structure.name, structure.spacegroup_hm = "made", "P 21 21 21"
    structure.cell = gemmi.UnitCell(30, 40, 50, 90, 90, 90)
    chain = gemmi.Chain("A")
    for number in range(20):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number + 1))
        for name in ("N", "CA", "C", "O"):
            atom = gemmi.Atom()
            atom.name, atom.element = name, gemmi.Element(name[0])
            atom.pos = gemmi.Position(*rng.uniform(0, 30, 3))
            atom.b_iso = 20
            residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    (folder / "a.pdb").write_text(structure.make_pdb_string())
    structure.make_mmcif_document().write_file(str(folder / "a.cif"))
    hkl = gemmi.make_miller_array(structure.cell, structure.find_spacegroup(), 5)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = structure.find_spacegroup()
    mtz.set_cell_for_all(structure.cell)
    mtz.add_dataset("x")
    mtz.add_column("FMODEL", "F")
    mtz.set_data(np.column_stack([hkl, rng.uniform(1, 100, len(hkl))]).astype(np.float32))
    mtz.write_to_file(str(folder / "a.mtz"))


def _write_network(path):
    """Write a network of few weights."""
    from deepfreak.networks import Inputs, Topology
    from deepfreak.networks.checkpoint import FORMAT, save_network
    from deepfreak.networks.network import NetworkModel, build_network, fingerprint

    topology = Topology(filters=1, blocks=(1, 1, 1, 1), second_pool_size=1)
    network = build_network(topology, Inputs(), classes=2, side=32).eval()
    manifest = {
        "format": FORMAT,
        "architecture": topology.settings(),
        "inputs": {"subtract": "pixel mean", "shrink_to": None},
        "classes": ["no", "yes"],
        "side": 32,
        "weights_sha256": fingerprint(network),
    }
    classes = ("no", "yes")
    save_network(NetworkModel(network=network, side=32, classes=classes, manifest=manifest), path)
