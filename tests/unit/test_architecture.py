"""Imports point one way: from the command line down to the names that all rooms share."""

import ast
from collections import defaultdict
from pathlib import Path

import deepfreak

SOURCE = Path(deepfreak.__file__).parent

# A room may import the rooms above it in this list, and itself.
LAYERS = [
    "errors", "extras", "settings", "classes", "encoding", "text", "progress", "processors",
    "splits", "storage", "compiled", "isolation", "physics", "formats", "evidence", "preparation",
    "datasets", "features", "models", "screening", "reports", "networks", "search", "live",
    "demo", "cli",
]  # fmt: skip


def modules():
    """Return the file of each module of the package, by dotted name."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name, path, known):
    """Return what a module imports from the package; imports for types only do not count."""
    found, for_types = set(), set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for_types |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepfreak."):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
    return found - {name, "deepfreak"}


def graph():
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def room(name):
    return name.split(".")[1]


def test_every_room_has_its_place():
    rooms = {room(name) for name in modules() if "." in name and "__main__" not in name}
    assert rooms <= set(LAYERS) | {"recipes"}


def test_rooms_import_downwards_only():
    wrong = defaultdict(list)
    for name, targets in graph().items():
        if name in {"deepfreak", "deepfreak.__main__"}:
            continue
        for target in targets:
            if LAYERS.index(room(target)) > LAYERS.index(room(name)):
                wrong[name].append(target)
    assert not wrong


def test_no_circles():
    """No module imports itself by way of others, not even inside a function."""
    pending = graph()
    while True:
        used = set().union(*pending.values())
        ends = {
            name
            for name, targets in pending.items()
            if name not in used or not targets & pending.keys()
        }
        if not ends:
            break
        pending = {name: targets for name, targets in pending.items() if name not in ends}
    assert not {name: targets & pending.keys() for name, targets in pending.items()}
