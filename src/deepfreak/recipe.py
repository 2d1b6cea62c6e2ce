"""Recipes: an experiment written as TOML."""

import difflib
import re
import tomllib
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic

from deepfreak.errors import RecipeError
from deepfreak.experiment import Experiment
from deepfreak.settings import one_line
from deepfreak.structure_factors import source_of_file

MAX_BYTES = 1_000_000


def shipped_recipes() -> list[str]:
    """Return the names of the recipes in the package."""
    folder = resources.files("deepfreak.recipes")
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def load_recipe(recipe: str | Path, *, structure: str | None = None) -> Experiment:
    """Return the experiment that a recipe describes.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a TOML file.
    structure
        Replaces the recipe's crystal structure: a coordinate or MTZ file, or the id of a PDB entry
        that `deepfreak fetch` has stored.

    Raises
    ------
    RecipeError
        If it does not exist, is no TOML, or holds a name or value that makes no sense.
    """
    text, where = _read(recipe)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not valid TOML: {error}") from error
    if structure is not None:
        crystal = table.get("crystal")
        if isinstance(crystal, dict):
            crystal["structure"] = _named_structure(structure)
    else:
        _resolve_file(table, where)
    return experiment_from(table, where=where)


def experiment_from(table: dict[str, Any], *, where: str = "recipe") -> Experiment:
    """Return the experiment that a table of settings describes; `where` begins error messages."""
    try:
        return pydantic.TypeAdapter(Experiment).validate_python(table)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}") from error


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's resolved settings as JSON types, `experiment_from` backwards."""
    dumped: dict[str, Any] = pydantic.TypeAdapter(Experiment).dump_python(experiment, mode="json")
    return dumped


def _read(recipe: str | Path) -> tuple[str, str]:
    """Return a recipe's text and what to call it in messages."""
    name = str(recipe)
    if re.fullmatch(r"[\w-]+", name) and name in shipped_recipes():
        text = (resources.files("deepfreak.recipes") / f"{name}.toml").read_text("utf-8")
        return text, f"recipe {name}"
    path = Path(recipe)
    if not path.is_file():
        known = ", ".join(shipped_recipes())
        raise RecipeError(f"no recipe {name}: expected a TOML file or one of: {known}")
    if path.stat().st_size > MAX_BYTES:
        raise RecipeError(f"{name}: a recipe has at most {MAX_BYTES} bytes")
    try:
        return path.read_text("utf-8"), name
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name}: cannot be read as text: {error}") from error


def _named_structure(structure: str) -> dict[str, Any]:
    is_entry = re.fullmatch(r"[0-9][A-Za-z0-9]{3}|pdb_[0-9a-zA-Z]{8}", structure)
    return asdict(source_of_file(f"pdb:{structure}" if is_entry else structure))


def _resolve_file(table: dict[str, Any], where: str) -> None:
    """Make a structure's file relative to the recipe that names it."""
    crystal = table.get("crystal")
    structure = crystal.get("structure") if isinstance(crystal, dict) else None
    file = structure.get("file") if isinstance(structure, dict) else None
    if isinstance(structure, dict) and isinstance(file, str) and not file.startswith("pdb:"):
        structure["file"] = str(Path(where).parent / file)


def _explain(error: pydantic.ValidationError) -> str:
    """Return the first problem in one line, with the nearest name for a misspelt one."""
    # A misspelt name also leaves the right one missing; the misspelling is what helps.
    unknown = [e for e in error.errors() if e["type"] == "unexpected_keyword_argument"]
    if not unknown:
        return one_line(error)
    *parents, name = (str(part) for part in unknown[0]["loc"])
    near = difflib.get_close_matches(name, sorted(_setting_names()), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{'.'.join([*parents, name])}: no such setting{hint}"


@lru_cache(maxsize=1)
def _setting_names() -> frozenset[str]:
    """Return the names of all settings of an experiment, at any depth."""
    from deepfreak import beam, crystal, detector, experiment
    from deepfreak.scattering import amorphous
    from deepfreak.structure_factors import sources

    modules = (beam, crystal, detector, experiment, amorphous, sources)
    nouns = [noun for module in modules for noun in vars(module).values() if is_dataclass(noun)]
    return frozenset(field.name for noun in nouns for field in fields(noun))
