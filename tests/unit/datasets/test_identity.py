"""Identity of a data set: the released one, or why not; equal hashes everywhere."""

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from deepfreak.datasets import Dataset
from deepfreak.datasets.verifying import (
    RELEASED_NAME,
    RELEASED_PROCESSOR,
    RELEASED_SHA256,
    identity,
    why_not_released,
)
from deepfreak.physics.recipe import load_recipe, settings_of
from tests.unit.datasets.conftest import made, small

__all__ = ["made", "small"]  # fixtures

ROOT = Path(__file__).parents[3]
SHIPPED = resources.files("deepfreak.models") / "shipped"


def released_manifest() -> dict:
    return {
        "experiment": json.loads(json.dumps(settings_of(load_recipe("diffranet")))),
        "seed": 0,
        "first": 0,
        "count": 25000,
        "of": 25000,
        "processors": ["another-one"],
        "sha256": dict(RELEASED_SHA256),
    }


def test_the_released_set_is_told_by_its_hashes() -> None:
    manifest = released_manifest()
    assert why_not_released(manifest) is None
    assert identity(manifest) == {
        "name": RELEASED_NAME,
        "seed": 0,
        "label_version": "2",
        "sha256": RELEASED_SHA256,
    }


def changed(**changes: object) -> dict:
    return released_manifest() | {"sha256": {}} | changes


def with_setting(change: str) -> dict:
    return changed(experiment=settings_of(load_recipe("diffranet", changes=[change])))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (with_setting("crystal.compton=false"), "of its recipe crystal.compton is False, not True"),
        (
            with_setting("background=[]"),
            "of its recipe background is [], not [{'material': 'water', 'thickness_mm': ",
        ),
        (changed(seed=7), "its seed is 7, not 0"),
        (changed(count=100, of=100), "its count is 100, not 25000"),
        ({"sha256": {}}, "it does not say which experiment it shows"),
        ({"varied": {"version": "varied-2"}}, "its images are varied ones"),
        (
            changed(sha256=RELEASED_SHA256 | {"images": "0"}),
            (
                "it has the same recipe and seed, but other images: it was made on another-one, "
                f"the released one on {RELEASED_PROCESSOR}"
            ),
        ),
    ],
)
def test_any_other_is_told_why_not(manifest: dict, why: str) -> None:
    found = why_not_released(manifest)
    assert found is not None
    assert found.startswith(why)
    assert "\n" not in found
    assert identity(manifest)["name"] is None


def test_a_file_tells_its_hashes(made: Path) -> None:
    with Dataset.open(made, split="train") as data:
        assert identity(data.manifest)["sha256"] == data.manifest["sha256"]
        assert "of its recipe" in (why_not_released(data.manifest) or "")


def test_the_docs_name_the_released_set() -> None:
    text = (ROOT / "docs" / "dataset.md").read_text()
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in RELEASED_SHA256.values())
    assert all(digest in text for digest in RELEASED_SHA256.values())
