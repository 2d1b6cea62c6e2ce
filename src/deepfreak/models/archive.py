"""What a model file may contain, checked before and after skops rebuilds its forest.

skops refuses types that it does not know, but trusts every scikit-learn estimator, and the node
arrays of a tree are indices that scikit-learn follows without looking. So the archive may hold
only what a forest needs, and each tree must be one.
"""

import json
import math
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.errors import ModelError

if TYPE_CHECKING:
    from sklearn.tree._tree import Tree

MAX_MEMBERS = 20_000
MAX_TOTAL_BYTES = 512 * 2**20
MAX_JSON_BYTES = 32 * 2**20
SCHEMA = "schema.json"
TRUSTED_TREE = "sklearn.tree._tree.Tree"

# (loader, type): what skops writes for a forest, and nothing that could name a function.
ALLOWED = frozenset(
    {
        ("ObjectNode", "sklearn.ensemble._forest.RandomForestClassifier"),
        ("ObjectNode", "sklearn.tree._classes.DecisionTreeClassifier"),
        ("TreeNode", TRUSTED_TREE),
        ("NdArrayNode", "numpy.ndarray"),
        ("NdArrayNode", "numpy.int64"),
        ("NdArrayNode", "numpy.float64"),
        ("DictNode", "builtins.dict"),
        ("ListNode", "builtins.list"),
        ("TupleNode", "builtins.tuple"),
        ("JsonNode", "builtins.str"),
        ("TypeNode", "builtins.str"),
    }
)


def check_archive(archive: zipfile.ZipFile) -> None:
    """Check sizes, arrays and types of a model file without building anything.

    Raises
    ------
    ModelError
        It holds too much, an array whose header does not fit its bytes, or another type.
    """
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise ModelError(
            f"expected at most {MAX_MEMBERS} members and {MAX_TOTAL_BYTES >> 20} MB unpacked, "
            f"found {len(members)} members and {total >> 20} MB: do not use this file"
        )
    for member in members:
        if member.filename.endswith(".npy"):
            _check_array(archive, member)
        elif member.file_size > MAX_JSON_BYTES:
            raise ModelError(
                f"expected at most {MAX_JSON_BYTES >> 20} MB of JSON, found "
                f"{member.file_size >> 20} MB in {member.filename!r}: do not use this file"
            )
    _check_schema(json.loads(archive.read(SCHEMA)))


def check_forest(forest: object, *, features: int, classes: int) -> None:
    """Check that `forest` is one whose trees can be walked for vectors of `features` numbers.

    Raises
    ------
    ModelError
        It is something else, or an index in it points outside.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.tree._tree import Tree

    sound = (
        isinstance(forest, RandomForestClassifier)
        and getattr(forest, "n_features_in_", None) == features
        and getattr(forest, "n_classes_", None) == classes
        and np.array_equal(getattr(forest, "classes_", ()), np.arange(classes))
        and len(getattr(forest, "estimators_", ())) > 0
        and all(
            isinstance(estimator, DecisionTreeClassifier)
            and isinstance(getattr(estimator, "tree_", None), Tree)
            and _is_sound(estimator.tree_, features, classes)
            for estimator in forest.estimators_
        )
    )
    if not sound:
        raise ModelError(
            f"expected a random forest of {features} features and {classes} classes, found one "
            "that does not fit its manifest or has damaged trees: do not use this file"
        )


def _is_sound(tree: "Tree", features: int, classes: int) -> bool:
    """Tell whether every index in `tree` points inside and every path ends in a leaf."""
    count = tree.node_count
    # With more nodes than were allocated, looking at them would already be out of bounds.
    if not 1 <= count == tree.capacity or tree.n_features != features or tree.n_outputs != 1:
        return False
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    parent = np.arange(count)[inner]
    return bool(
        tree.n_classes[0] == classes
        and np.array_equal(inner, right != -1)
        # Children come after their parents, so no path runs in a circle.
        and (left[inner] > parent).all()
        and (right[inner] > parent).all()
        and (left < count).all()
        and (right < count).all()
        and (feature[inner] >= 0).all()
        and (feature[inner] < features).all()
        and np.isfinite(tree.value).all()
    )


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Check that the array's header describes as many bytes as there are."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        header = file.tell()
    if dtype.hasobject or header + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ModelError(
            f"expected an array of {dtype} {shape} in {member.filename!r}, found "
            f"{member.file_size} bytes: do not use this file"
        )


def _check_schema(schema: object) -> None:
    """Check that skops would build allowed types only, and trees of one output."""
    seen: dict[Any, dict[str, Any]] = {}
    for node in _nodes(schema):
        kind = (node["__loader__"], f"{node.get('__module__')}.{node.get('__class__')}")
        if kind not in ALLOWED:
            raise ModelError(
                f"expected the parts of a random forest only, found {kind[1]!r}: "
                "do not use this file"
            )
        # skops takes a node whose id it met before for the same object: a second, different
        # one would be checked here and not be used there.
        first = seen.setdefault(node.get("__id__"), node)
        if first is not node and _content(first) != _content(node):
            raise ModelError("expected one object for each id, found two: do not use this file")
        # scikit-learn reads as many class counts as there are outputs, unchecked.
        if kind[0] == "TreeNode" and _outputs(node) != "1":
            raise ModelError("expected trees of one output, found others: do not use this file")


def _content(value: object) -> object:
    """Return `value` without ids: those of temporary objects differ from one visit to the next."""
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items() if key != "__id__"}
    return [_content(item) for item in value] if isinstance(value, list) else value


def _outputs(tree: dict[str, Any]) -> object:
    """Return the JSON text of the third argument (features, classes, outputs) of a tree."""
    arguments = tree["__reduce__"]["args"]["content"]
    return arguments[2]["content"] if len(arguments) == 3 else None


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    """Yield every node of the schema, without recursion: its depth is not to be trusted."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "__loader__" in item:
                yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
