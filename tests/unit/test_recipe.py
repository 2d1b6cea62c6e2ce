"""Recipes and what is said about wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepfreak.errors import RecipeError
from deepfreak.recipe import experiment_from, load_recipe, settings_of, shipped_recipes


def test_shipped_recipes_load() -> None:
    assert "diffranet" in shipped_recipes()
    for name in shipped_recipes():
        assert load_recipe(name).name == name


def test_resolved_settings_give_the_same_experiment_back() -> None:
    experiment = load_recipe("diffranet")
    assert experiment_from(json.loads(json.dumps(settings_of(experiment)))) == experiment


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("beam.wavelenght_A", 1.5, "did you mean wavelength_A"),
        ("beam.wavelength_A", 0, "greater than 0, found 0"),
        ("beam.wavelength_A", "blue", "valid number"),
        ("beam.wavelength_A", float("nan"), "finite"),
        ("beam.pulse_energy_rms", -1, "greater than or equal to 0"),
        ("beam.polarization", 3, "between -1 and 1"),
        ("detector.distance_mm", -80, "greater than 0, found -80"),
        ("detector.image_size", [512, 100_000], "at most 16384"),
        ("detector.fast_axis", [0, -1, 0], "perpendicular"),
        ("crystal.mosaic_domains", 0, "greater than or equal to 1"),
        ("crystal.xtal_shape", "pear", "'tophat'"),
        ("crystal.structure.kind", "magic", "wilson"),
        ("classes.lit", [], "at least 1"),
        ("spindle", 1, "no such setting"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(path: str, value: Any, said: str) -> None:
    table: dict[str, Any] = settings_of(load_recipe("diffranet"))
    *parents, name = path.split(".")
    inner = table
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    with pytest.raises(RecipeError, match=said) as caught:
        experiment_from(table)
    assert "\n" not in str(caught.value)
    assert path.rsplit(".", 1)[0].split(".", maxsplit=1)[0] in str(caught.value)


def test_probabilities_that_do_not_sum_to_one_are_refused() -> None:
    table = settings_of(load_recipe("diffranet"))
    table["classes"]["lit"][0]["probability"] = 0.9
    with pytest.raises(RecipeError, match="sum to 1, found 1.59"):
        experiment_from(table)


def test_an_unknown_recipe_lists_those_that_ship(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="diffranet"):
        load_recipe(tmp_path / "nothing.toml")


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[beam\n")
    with pytest.raises(RecipeError, match="broken.toml: not valid TOML.*line 1"):
        load_recipe(path)


def test_structure_on_request_replaces_the_recipes() -> None:
    experiment = load_recipe("diffranet", structure="4RVY")
    assert experiment.crystal.structure.kind == "model"
    assert experiment.crystal.structure.file == "pdb:4RVY"
    assert load_recipe("diffranet").crystal.structure.kind == "wilson"


def test_a_recipes_file_is_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    table = load_recipe("diffranet")
    assert table.crystal.structure.kind == "wilson"
    folder = tmp_path / "recipes"
    folder.mkdir()
    text = (Path(__file__).parents[2] / "src/deepfreak/recipes/diffranet.toml").read_text()
    start, end = text.index("[crystal.structure]"), text.index("[[background]]")
    path = folder / "mine.toml"
    path.write_text(
        text[:start] + '[crystal.structure]\nkind = "model"\nfile = "a.pdb"\n\n' + text[end:]
    )
    assert load_recipe(path).crystal.structure.file == str(folder / "a.pdb")
