"""Recipes, and the errors of wrong ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deepfreak.errors import RecipeError
from deepfreak.physics.recipe import (
    experiment_from,
    load_recipe,
    settings_of,
    shipped_recipes,
)


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


def test_probabilities_that_do_not_sum_to_one_are_rejected() -> None:
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
    text = (Path(__file__).parents[3] / "src/deepfreak/recipes/diffranet.toml").read_text()
    start, end = text.index("[crystal.structure]"), text.index("[[background]]")
    path = folder / "mine.toml"
    path.write_text(
        text[:start] + '[crystal.structure]\nkind = "model"\nfile = "a.pdb"\n\n' + text[end:]
    )
    assert load_recipe(path).crystal.structure.file == str(folder / "a.pdb")


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("beam.wavelength_A=1.3", ("beam", "wavelength_A"), 1.3),
        (" beam . wavelength_A = 1.3 ", ("beam", "wavelength_A"), 1.3),
        ("background.0.thickness_mm=0.02", ("background", 0, "thickness_mm"), 0.02),
        ("classes.lit.1.name=faint", ("classes", "lit", 1, "name"), "faint"),
        ("classes.lit.1.crystal_fraction=[0.1, 0.2]", ("classes", "lit", 1), None),
        ("detector.image_size.1=640", ("detector", "image_size", 1), 640),
        ("crystal.xtal_shape=gauss", ("crystal", "xtal_shape"), "gauss"),
        ("crystal.xtal_shape='gauss'", ("crystal", "xtal_shape"), "gauss"),
        ("name=a = b", ("name",), "a = b"),
        ("detector.beam_center_px=[1, 2.5]", ("detector", "beam_center_px"), [1.0, 2.5]),
    ],
)
def test_a_change_sets_one_value_and_no_other(
    change: str, path: tuple[str | int, ...], value: Any
) -> None:
    changed = settings_of(load_recipe("diffranet", changes=[change]))
    expected = settings_of(load_recipe("diffranet"))
    if value is None:
        value = dict(expected["classes"]["lit"][1], crystal_fraction=[0.1, 0.2])
    inner: Any = expected
    for key in path[:-1]:
        inner = inner[key]
    assert inner[path[-1]] != value
    inner[path[-1]] = value
    assert changed == expected


def test_changes_are_made_in_order_and_together() -> None:
    changes = [
        "classes.lit.0.probability=0.5",
        "classes.lit.1.probability=0.1",
        "classes.lit.2.probability=0.26",
        "classes.lit.0.probability=0.5",
    ]
    experiment = load_recipe("diffranet", changes=changes)
    assert [lit.probability for lit in experiment.classes.lit] == [0.5, 0.1, 0.26, 0.14]


def test_a_table_that_the_recipe_leaves_out_can_be_changed(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "src/deepfreak/recipes/diffranet.toml").read_text()
    start, end = text.index("[detector.response]"), text.index("# Drawn before an image")
    path = tmp_path / "mine.toml"
    path.write_text(text[:start] + text[end:])
    experiment = load_recipe(path, changes=["detector.response.saturation_value=1000"])
    assert experiment.detector.response.saturation_value == 1000


def test_a_list_of_tables_can_be_written_whole() -> None:
    background = 'background=[{material = "air", path_mm = 7}]'
    experiment = load_recipe("diffranet", changes=[background])
    assert [matter.material for matter in experiment.background] == ["air"]
    assert load_recipe("diffranet", changes=["background=[]"]).background == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("beam.wavelenght_A=1.3", "beam.wavelenght_A: no such setting; did you mean wavelength_A"),
        ("baem.wavelength_A=1.3", "baem: no such setting; did you mean beam"),
        ("background.0.thicknes_mm=1", "no such setting; did you mean thickness_mm"),
        ("background.2.thickness_mm=1", "a list of 2; expected 0 to 1, found 2"),
        ("background.-1.thickness_mm=1", "a list of 2; expected 0 to 1, found -1"),
        ("background.water.thickness_mm=1", "expected 0 to 1, found water"),
        ("beam.wavelength_A.x=1", "beam.wavelength_A is 1.5, which has no settings"),
        ("beam.wavelength_A", "expected a setting and its value, as beam.wavelength_A=1.3"),
        ("=1", "expected a setting and its value"),
        ("beam..wavelength_A=1", "expected a setting and its value"),
        ("beam.wavelength_A=", "expected a value after the equals sign"),
        ("beam.wavelength_A=1\nbeam.size_mm=2", "expected a change of printable characters"),
        ("beam.distance_mm=80", "beam.distance_mm: no such setting in this place"),
        ("beam.wavelength_A=blue", "valid number"),
        ("beam.wavelength_A=nan", "finite"),
        ("beam.wavelength_A=-1", "greater than 0, found -1"),
        ("beam.polarization_axis=[0, 1", "not a valid TOML value"),
        ('name="open', "not a valid TOML value"),
    ],
)
def test_a_wrong_change_is_named_in_one_line(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)) as caught:
        load_recipe("diffranet", changes=[change])
    assert len(str(caught.value).splitlines()) == 1


def test_a_changed_file_is_looked_for_where_the_command_is_run(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "src/deepfreak/recipes/diffranet.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text)
    changes = ["crystal.structure={kind='reflections', file='P1.hkl', cell=[1, 1, 1, 90, 90, 90]}"]
    experiment = load_recipe(path, changes=changes)
    assert experiment.crystal.structure.kind == "reflections"
    assert experiment.crystal.structure.file == "P1.hkl"


def test_every_file_of_a_recipe_is_looked_for_beside_it(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "src/deepfreak/recipes/diffranet.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("[crystal]\n", '[crystal]\norientation.matrix_file = "A.mat"\n'))
    orientation = load_recipe(path).crystal.orientation
    assert not isinstance(orientation, str)
    assert orientation.matrix_file == str(tmp_path / "A.mat")


def test_misspelt_names_at_any_depth_find_their_neighbour() -> None:
    # settings that no module lists by hand: a union's member, a default's, a list's
    for path, right in {
        "detector.response.redout_noise_adu": "readout_noise_adu",
        "crystal.structure.atoms_per_asy": "atoms_per_asu",
        "classes.lit.0.crystal_fractoin": "crystal_fraction",
    }.items():
        with pytest.raises(RecipeError, match=f"did you mean {right}"):
            load_recipe("diffranet", changes=[f"{path}=1"])
