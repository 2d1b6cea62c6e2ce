"""What a model file may contain, checked before anything is built from it.

skops refuses types that it does not know, but trusts every scikit-learn estimator. So the archive
may hold only what a forest needs. What was built is then judged by `sound`.
"""

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError

# Enough for the largest forests of the paper's search, 1,000 trees over 10,000 images. Where these
# tell the classes apart, that is 0.1 GB; without any pattern it would be 6,000 nodes a tree, each
# 104 bytes here and up to 30 in the file.
MAX_MEMBERS = 20_000
MAX_TOTAL_BYTES = 1024 * 2**20
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
    """Check the sizes and arrays of a model file, reading no more than their headers.

    Raises
    ------
    ModelError
        It holds too much, or an array whose header does not fit its bytes.
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


def write_arrays(archive: zipfile.ZipFile, folder: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `arrays` as FOLDER/NAME.npy."""
    for name, array in arrays.items():
        with archive.open(f"{folder}/{name}.npy", "w") as member:
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def read_arrays(archive: zipfile.ZipFile, folder: str) -> dict[str, NDArray[Any]]:
    """Return the arrays FOLDER/NAME.npy of an archive that was checked, by name."""
    found = {}
    for member in archive.infolist():
        if PurePosixPath(member.filename).match(f"{folder}/*.npy"):
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            found[PurePosixPath(member.filename).stem] = array
    return found


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


def check_schema(archive: zipfile.ZipFile) -> None:
    """Check that skops would build allowed types only, and trees of one output.

    Raises
    ------
    ModelError
        It would build something else.
    """
    schema = json.loads(archive.read(SCHEMA))
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
