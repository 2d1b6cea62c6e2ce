"""Options that fill the fields of a settings class, or the arguments of a function.

A field is described once, where it stands: its type, range and default, and a sentence in the
docstring. That is imported only when a value or the help is wanted, so that a typo elsewhere is
answered at once.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import click

F = TypeVar("F", bound=Callable[..., Any])


class FieldType:
    """The type of a field, and how its values are typed."""

    def __init__(self, annotation: object, default: object) -> None:
        kinds = list(_alternatives(annotation))
        # where only one kind of value can be given, leaving the option out stands for none
        if default is None and len(kinds) == 2 and NoneType in kinds:
            kinds.remove(NoneType)
        self._annotation: Any = annotation
        self._kinds = kinds

    def read(self, text: str) -> object:
        """Return the value that `text` stands for, checked as the settings class does."""
        import pydantic

        choices = [choice for kind in self._kinds for choice in _choices(kind)]
        if text == "none" and NoneType in self._kinds:
            return None
        is_tuple = any(get_origin(_base(kind)) is tuple for kind in self._kinds)
        parts = tuple(text.split(",")) if is_tuple and text not in choices else text
        try:
            value: object = pydantic.TypeAdapter(self._annotation).validate_python(parts)
        except pydantic.ValidationError:
            expected = " or ".join(map(_in_words, self._kinds))
            raise ValueError(f"expected {expected}, found {text!r}") from None
        if isinstance(value, Path) and not value.exists():
            raise ValueError(f"no file {text}")
        return value

    def metavar(self) -> str:
        """Return what the help shows in place of a value."""
        return "|".join(map(_metavar, self._kinds))

    def bounds(self) -> str:
        """Return the range of a number, empty without one."""
        return next(filter(None, map(_bounds, self._kinds)), "")


class SettingOption(click.Option):
    """An option whose type, default and help are those of a field."""

    def __init__(self, *flags: Any, of: "SettingsOptions", field: str, **given: Any) -> None:  # noqa: ANN401 -- as click's
        super().__init__(*flags, **given)
        self._of, self._field = of, field

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return name and help."""
        kind, default = self._of.type_of(self._field)
        said = self._of.describe(self._field)
        if not self.is_flag:
            self.metavar = kind.metavar()
            notes = [f"default: {default}" * bool(default), kind.bounds()]
            said += f"  [{'; '.join(filter(None, notes))}]" * any(notes)
        self.help = said
        return super().get_help_record(ctx)


class SettingsOptions:
    """Options for some fields of a settings class, or for some arguments of a function.

    `where` is the class or function, as `module:name`. A field has its option, as
    `angles_deg=angles`, or stands by itself where that has the same name; `serpentine?` is a flag.
    `choice` is the option and its value with which alone these make sense, such as
    `("classifier", "svm")`, `default` what the help says where the defaults are not the class's.
    """

    def __init__(
        self,
        where: str,
        *fields: str,
        choice: tuple[str, str] | None = None,
        default: str | None = None,
    ) -> None:
        self._where, self.choice, self._default = where, choice, default
        pairs = [field.rstrip("?").partition("=") for field in fields]
        self._options = {name: option or name for name, _, option in pairs}
        self._flags = {
            name for (name, _, _), field in zip(pairs, fields, strict=True) if field[-1] == "?"
        }

    def __call__(self, command: F) -> F:
        """Give `command` the options."""
        for field in reversed(self._options):
            click.option(
                self.flag(field), self._options[field], cls=SettingOption, of=self, field=field,
                is_flag=field in self._flags,
            )(command)  # fmt: skip
        return command

    def flag(self, field: str) -> str:
        """Return how the option of a field is typed."""
        return f"--{self._options[field].replace('_', '-')}"

    def typed_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that were given, as they were typed; nothing is imported."""
        found = {field: values[option] for field, option in self._options.items()}
        return {field: text for field, text in found.items() if text not in (None, False)}

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that were given, each of its type and in its range."""
        found = self.typed_fields(values)
        for field, text in found.items():
            if field not in self._flags:
                try:
                    found[field] = self.type_of(field)[0].read(text)
                except ValueError as error:
                    raise click.UsageError(
                        f"Invalid value for '{self.flag(field)}': {error}"
                    ) from None
        return found

    def take(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that were given, and take the options out of `values`."""
        found = self.given(values)
        for option in self._options.values():
            del values[option]
        return found

    def take_settings(self, values: dict[str, Any]) -> Any:  # noqa: ANN401 -- of the class
        """Return the settings as `make`, and take the options out of `values`."""
        with one_line_errors():
            return self._cls(**self.take(values))

    def make(self, values: Mapping[str, Any], **more: object) -> Any:  # noqa: ANN401 -- of the class
        """Return the settings: what was given, and the defaults of the class."""
        with one_line_errors():
            return self._cls(**self.given(values), **more)

    def typed(self, settings: object) -> str:
        """Return the options, defaults too, with which `settings` would be made."""
        return " ".join(
            f"{self.flag(field)} {_typed(getattr(settings, field))}" for field in self._options
        )

    def type_of(self, field: str) -> tuple[FieldType, str]:
        """Return the type of a field, and its default as it would be typed, empty without one."""
        if dataclasses.is_dataclass(self._cls):
            found = next(one for one in dataclasses.fields(self._cls) if one.name == field)
            annotation, default = found.type, found.default
        else:
            parameter = inspect.signature(self._cls).parameters[field]
            annotation, default = parameter.annotation, parameter.default
        known = default not in (dataclasses.MISSING, inspect.Parameter.empty)
        kind = FieldType(annotation, default if known else None)
        is_shown = known and (default is not None or len(list(_alternatives(annotation))) > 2)
        return kind, self._default or (_typed(default) if is_shown else "")

    def describe(self, field: str) -> str:
        """Return the first sentence of a field in the docstring."""
        lines = (inspect.getdoc(self._cls) or "").splitlines()
        for number, line in enumerate(lines):
            if not line.startswith(" ") and field in line.split(", "):
                entry = []
                for text in lines[number + 1 :]:
                    if not text.startswith(" "):
                        break
                    entry.append(text.strip())
                said = " ".join(entry).partition(". ")[0].rstrip(".").replace("`", "") + "."
                if self.choice is None:
                    return said
                return f"{self.choice[1]}: {said[0].lower()}{said[1:]}"
        return ""

    @property
    def _cls(self) -> Any:  # noqa: ANN401 -- a class or a function
        module, _, name = self._where.partition(":")
        return getattr(import_module(module), name)


def reject_unrelated_options(
    values: Mapping[str, Any], groups: Iterable[SettingsOptions], chosen: Mapping[str, object]
) -> None:
    """Raise `click.UsageError` for an option of a group with another `choice` than was `chosen`."""
    for group in groups:
        option, kind = group.choice or ("", "")
        for field in group.typed_fields(values):
            if chosen.get(option) != kind:
                raise click.UsageError(
                    f"{group.flag(field)} goes with --{option} {kind}, found --{option} "
                    f"{chosen.get(option)}: leave one of them out"
                )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of settings about a wrong value into one line."""
    from pydantic import ValidationError

    from deepfreak.settings import one_line

    try:
        yield
    except ValidationError as error:
        raise click.UsageError(one_line(error)) from error


def _typed(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    if value is None:
        return "none"
    # repr gives the shortest text that is read as the same number
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _alternatives(annotation: object) -> Iterator[Any]:
    """Yield the members of a union, or the one type."""
    if get_origin(annotation) in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _alternatives(inner)
    else:
        yield annotation


def _choices(kind: object) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _base(kind: object) -> object:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _bounds(kind: object) -> str:
    """Return the range of a number in words, empty without one."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        limit
        for note in (get_args(kind)[1:] if get_origin(kind) is Annotated else ())
        for limit in getattr(note, "metadata", [note])
    ]
    found = {
        name: getattr(limit, name) for limit in limits for name in words if hasattr(limit, name)
    }
    if set(found) == {"ge", "le"}:
        return f"{_typed(found['ge'])} to {_typed(found['le'])}"
    return " and ".join(f"{words[name]} {_typed(value)}" for name, value in found.items())


def _in_words(kind: object) -> str:
    base = _base(kind)
    if choices := _choices(kind):
        return " or ".join(map(str, choices))
    if get_origin(base) is tuple:
        return "numbers separated by commas"
    names = {int: "an integer", float: "a number", NoneType: "none", Path: "a file", str: "text"}
    return f"{names[base]} {_bounds(kind)}".strip()  # type: ignore[index]  # one of these


def _metavar(kind: object) -> str:
    base = _base(kind)
    if choices := _choices(kind):
        return f"[{'|'.join(map(str, choices))}]"
    if get_origin(base) is tuple:
        return "NUMBER,..."
    names = {int: "INTEGER", float: "NUMBER", NoneType: "none", Path: "FILE", str: "TEXT"}
    return names[base]  # type: ignore[index]  # one of these
