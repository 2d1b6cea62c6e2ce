"""Which data set this is: hashes that two people can compare, and the released set's."""

from collections.abc import Iterator, Mapping
from typing import Any

# `deepfreak data generate diffranet`, see docs/dataset.md. Its labels are the same everywhere;
# its images and truth in their last bits are those of this kind of processor.
RELEASED_NAME = "DiffraNet 2"
RELEASED_RECIPE = "diffranet"
RELEASED_SEED = 0
RELEASED_PROCESSOR = "znver4-31f64895"
RELEASED_SHA256 = {
    "images": "488b75e03f4317ce072baa73f8ec30fda3e0a69cc7087963ed6b79caf8e6bb37",
    "labels": "9e90cc4eb9702cb4898afad9f1bdd0540824c17b351cf56f9ef26bdbd69c8017",
    "truth": "8d7b980e6af6e311b43f5c831f37307a9e751be5ccf6408f9db0e97fb39a7a75",
}


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a data set, as JSON values for models and records.

    Its `name` if it is a released one, `seed`, `label_version` and `sha256`; None for what its
    manifest does not say.
    """
    return {
        "name": None if why_not_released(manifest) else RELEASED_NAME,
        "seed": manifest.get("seed"),
        "label_version": _label_version(manifest),
        "sha256": manifest.get("sha256"),
    }


def why_not_released(manifest: Mapping[str, Any]) -> str | None:
    """Return in one line why a data set is not the released one; None if it is.

    Only the manifest is looked at; whether images, labels and truth are what it says, `verify`
    tells.
    """
    if manifest.get("sha256") == RELEASED_SHA256:
        return None
    if "varied" in manifest:
        return "its images are varied ones"
    settings = manifest.get("experiment")
    if not isinstance(settings, dict):
        return "it does not say which experiment it shows"
    from deepfreak.physics.recipe import load_recipe, settings_of

    released = load_recipe(RELEASED_RECIPE)
    plan = released.dataset
    differing = list(_differences(settings, settings_of(released), ""))
    if differing:
        further = f", and {len(differing) - 1} further settings" if len(differing) > 1 else ""
        return f"of its recipe {differing[0]}{further}"
    wanted = {"seed": RELEASED_SEED, "first": 0}
    wanted |= {} if plan is None else {"count": plan.count, "of": plan.count}
    for name, value in wanted.items():
        if manifest.get(name) != value:
            return f"its {name} is {manifest.get(name)}, not {value}"
    hashes = manifest.get("sha256") or {}
    others = [name for name, digest in RELEASED_SHA256.items() if hashes.get(name) != digest]
    made_on = ", ".join(map(str, manifest.get("processors", ["unknown"])))
    return (
        f"it has the same recipe and seed, but other {' and '.join(others)}: it was made on "
        f"{made_on}, the released one on {RELEASED_PROCESSOR}"
    )


def _label_version(manifest: Mapping[str, Any]) -> str | None:
    version: str | None
    if "varied" in manifest:
        version = manifest["varied"].get("version")
    else:
        version = manifest.get("experiment", {}).get("classes", {}).get("label_version")
    return version


def _differences(found: object, wanted: object, where: str) -> Iterator[str]:
    """Yield `name is this, not that` for each setting in which two nested tables differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in dict.fromkeys([*wanted, *found]):
            inner = f"{where}.{name}" if where else str(name)
            yield from _differences(found.get(name), wanted.get(name), inner)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(one, other, f"{where}.{place}")
    elif found != wanted:
        yield f"{where} is {found!s:.40}, not {wanted!s:.40}"
