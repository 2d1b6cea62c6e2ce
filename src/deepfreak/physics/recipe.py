"""Recipes: an experiment written as TOML."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pydantic

from deepfreak.errors import RecipeError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.structure_factors import source_of_file
from deepfreak.settings import one_line

MAX_BYTES = 1_000_000


def shipped_recipes() -> list[str]:
    """Return the names of the recipes in the package."""
    folder = resources.files("deepfreak.recipes")
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def load_recipe(
    recipe: str | Path, *, structure: str | None = None, changes: Sequence[str] = ()
) -> Experiment:
    """Return the experiment that a recipe describes.

    Raises `RecipeError` if it does not exist, is no TOML, or holds a name or value that makes no
    sense.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a TOML file.
    structure
        Replaces the recipe's crystal structure: a coordinate or MTZ file, or the id of a PDB entry
        that `deepfreak data fetch` has stored.
    changes
        Settings to change after that, in order: `beam.wavelength_A=1.3` or, in a list, counting
        from 0, `classes.lit.1.probability=0.5`. A value is written as in TOML; text needs no
        quotes unless TOML would take it for something else.
    """
    text, where = _read(recipe)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not valid TOML: {error}") from error
    _resolve_files(table, Path(where).parent)
    crystal = table.get("crystal")
    if structure is not None and isinstance(crystal, dict):
        crystal["structure"] = _named_structure(structure)
    for change in changes:
        _apply(change, table)
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


def _resolve_files(place: object, folder: Path) -> None:
    """Make the files that a recipe's settings name relative to its own folder."""
    if isinstance(place, list):
        for item in place:
            _resolve_files(item, folder)
    elif isinstance(place, dict):
        for name, value in place.items():
            if isinstance(value, str) and (name == "file" or name.endswith("_file")):
                place[name] = value if value.startswith("pdb:") else str(folder / value)
            else:
                _resolve_files(value, folder)


def _apply(change: str, table: dict[str, Any]) -> None:
    """Make one change, `a.b.0.c=value`, in a recipe's table."""
    if not change.isprintable():
        raise RecipeError(f"expected a change of printable characters, found {change!r:.80}")
    path, equals, text = change.partition("=")
    names = [name.strip() for name in path.split(".")]
    if not equals or not all(names):
        raise RecipeError(
            f"expected a setting and its value, as beam.wavelength_A=1.3, found {change}"
        )
    value = _value(text.strip(), change)
    place: Any = table
    for depth, name in enumerate(names):
        here = ".".join(names[:depth])
        key = _key(place, name, here, change)
        if depth == len(names) - 1:
            place[key] = value
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
        else:
            place = place[key]


def _key(place: object, name: str, here: str, change: str) -> str | int:
    """Return what indexes `name` in `place`, the table or list found at `here`."""
    if isinstance(place, dict):
        return name
    if not isinstance(place, list):
        raise RecipeError(f"{change}: {here} is {place!r:.40}, which has no settings of its own")
    if not re.fullmatch(r"[0-9]{1,6}", name) or int(name) >= len(place):
        places = f"0 to {len(place) - 1}" if place else "no place in it"
        raise RecipeError(
            f"{change}: {here} is a list of {len(place)}; expected {places}, found {name}"
        )
    return int(name)


def _value(text: str, change: str) -> object:
    """Return what `text` means in TOML; what is no TOML is text."""
    if not text:
        raise RecipeError(f"{change}: expected a value after the equals sign")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        # an open bracket or quote was meant to be something else than text
        if text[0] in "[{\"'":
            raise RecipeError(f"{change}: not a valid TOML value: {error}") from error
        return text


def _explain(error: pydantic.ValidationError) -> str:
    """Return the first problem in one line, with the nearest name for a misspelt one."""
    # A misspelt name also leaves the right one missing; the misspelling is what helps.
    unknown = [e for e in error.errors() if e["type"] == "unexpected_keyword_argument"]
    if not unknown:
        return one_line(error)
    *parents, name = (str(part) for part in unknown[0]["loc"])
    where, known = ".".join([*parents, name]), sorted(set(_names(Experiment, set())))
    if name in known:
        return f"{where}: no such setting in this place"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{where}: no such setting{hint}"


def _names(annotation: object, seen: set[object]) -> Iterator[str]:
    """Yield the names of the settings that `annotation` leads to, through unions and tuples."""
    for part in get_args(annotation):
        yield from _names(part, seen)
    if isinstance(annotation, type) and is_dataclass(annotation) and annotation not in seen:
        seen.add(annotation)
        for name, inner in get_type_hints(annotation, include_extras=True).items():
            yield name
            yield from _names(inner, seen)
