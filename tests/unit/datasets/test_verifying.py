"""`data verify`: what is proved, what is found, and by which rule."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepfreak.datasets import Verification, verify, worker_processes
from deepfreak.datasets.file import content_hashes
from deepfreak.datasets.records import digest_of


def proof_of(path: Path, sample: int = 10) -> Verification:
    return verify(path, rng=np.random.default_rng(0), sample=sample)


@pytest.fixture
def changed(made: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File, dict], None]], Path]:
    """Return a function that copies the data set and changes file and manifest."""

    def change(edit: Callable[[h5py.File, dict[str, Any]], None]) -> Path:
        path = Path(shutil.copy(made, tmp_path / "changed.h5"))
        with h5py.File(path, "r+") as file:
            manifest = json.loads(file.attrs["manifest"])
            edit(file, manifest)
            file.attrs["manifest"] = json.dumps(manifest)
        return path

    return change


def with_hashes(file: h5py.File, manifest: dict[str, Any]) -> None:
    """Make the manifest's hashes those of changed content."""
    digests = hashlib.sha256(b"".join(digest_of(image) for image in file["images"]))
    manifest["sha256"] |= {
        name: digest
        for name, digest in content_hashes(digests, file["label"][:], {}).items()
        if name != "truth"
    }


def test_what_generate_made_is_proved_by_equal_bytes(made: Path) -> None:
    proof = proof_of(made)
    assert proof.problems == ()
    assert (proof.rule, proof.images, proof.simulated) == ("equal bytes", 10, 10)


def test_workers_prove_the_same(made: Path) -> None:
    with worker_processes(2) as executor:
        proof = verify(made, rng=np.random.default_rng(0), sample=4, executor=executor)
    assert (proof.problems, proof.simulated) == ((), 4)


@pytest.mark.parametrize("name", ["images", "label", "truth/spots_5sigma"])
def test_a_changed_value_is_found_by_its_hash(changed: Callable, name: str) -> None:
    def edit(file: h5py.File, _: dict) -> None:
        file[name][3] = np.where(file[name][3] == 1, 2, 1)

    problems = proof_of(changed(edit), sample=0).problems
    assert len(problems) == 1
    assert problems[0].startswith(
        f"the hash of the {name.partition('/')[0].replace('label', 'labels')}"
    )


@pytest.mark.parametrize(("pixels", "by"), [(1, 1), (1, 3), (500, 1)])
def test_a_forged_image_is_found_by_simulating_it_again(
    changed: Callable, pixels: int, by: int
) -> None:
    def edit(file: h5py.File, manifest: dict) -> None:
        image = file["images"][3]
        image.flat[:pixels] += np.where(image.flat[:pixels] < 250, by, -by).astype(np.uint8)
        file["images"][3] = image
        with_hashes(file, manifest)

    problems = proof_of(changed(edit)).problems
    assert problems == (
        f"image 3 differs from its simulation: {pixels} pixels differ, by up to {by}",
    )


def test_a_forged_label_is_found_by_drawing_it_again(changed: Callable) -> None:
    def edit(file: h5py.File, manifest: dict) -> None:
        file["label"][3] = (file["label"][3] + 1) % 5
        with_hashes(file, manifest)

    assert (
        "image 3 differs from its simulation: it is labelled" in proof_of(changed(edit)).problems[0]
    )


@pytest.mark.parametrize(
    "where",
    [
        lambda m: m.update(processors=["z80-00000000"]),
        lambda m: m["versions"].update(numba="0.1"),
        lambda m: m.update(backend="gpu"),
    ],
)
def test_what_was_made_elsewhere_may_be_off_by_one_in_few_pixels(
    changed: Callable, where: Callable[[dict], None]
) -> None:
    def edit(_: h5py.File, manifest: dict) -> None:
        where(manifest)

    proof = proof_of(changed(edit), sample=2)
    assert (proof.rule, proof.problems) == ("golden measure", ())
    assert "made" in proof.reason


def test_the_golden_measure_is_one_in_ten_thousand(changed: Callable) -> None:
    # 64 x 64 pixels: none may differ
    def edit(file: h5py.File, manifest: dict) -> None:
        manifest["processors"] = ["z80-00000000"]
        image = file["images"][3]
        image.flat[0] ^= 1  # by one, also at 255
        file["images"][3] = image
        with_hashes(file, manifest)

    assert "1 pixels differ" in proof_of(changed(edit)).problems[0]


def test_a_changed_recipe_or_seed_is_found(changed: Callable) -> None:
    def reseed(_: h5py.File, manifest: dict) -> None:
        manifest["seed"] = 4

    assert len(proof_of(changed(reseed), sample=3).problems) == 3

    def nonsense(_: h5py.File, manifest: dict) -> None:
        manifest["experiment"]["beam"]["wavelength_A"] = -1

    (problem,) = proof_of(changed(nonsense)).problems
    assert "cannot be simulated again" in problem


def test_moved_splits_are_found(changed: Callable) -> None:
    def edit(file: h5py.File, _: dict) -> None:
        file["splits"].attrs["test"] = (7, 3)

    assert "splits" in proof_of(changed(edit), sample=0).problems[0]


def test_without_a_manifest_nothing_is_proved(changed: Callable) -> None:
    assert "no manifest" in proof_of(changed(lambda _, manifest: manifest.clear())).problems[0]
    lacking = proof_of(changed(lambda _, manifest: manifest.pop("sha256")))
    assert lacking.problems == ("its manifest lacks sha256",)
