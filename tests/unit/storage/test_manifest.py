import h5py
import pytest

from deepfreak.errors import DatasetError, InputError
from deepfreak.storage.manifest import Format, difference

FORM = Format("made-up set", 3)


def test_a_manifest_says_format_and_version_first():
    manifest = FORM.manifest(seed=1)
    assert list(manifest.items()) == [("kind", "made-up set"), ("format", 3), ("seed", 1)]
    assert FORM.check(manifest, "a file") == manifest


@pytest.mark.parametrize("found", [None, [], {}, {"kind": "other", "format": 3}])
def test_another_format_is_refused(found):
    with pytest.raises(InputError, match="^a file: expected the format made-up set, found some"):
        FORM.check(found, "a file")


def test_another_version_is_refused():
    with pytest.raises(DatasetError, match="expected version 3 of .* found version 2: make it"):
        FORM.check({"kind": "made-up set", "format": 2}, "a file", error=DatasetError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        (3, "not a JSON object"),
        ('{"format": 4}', "expected version 3"),
        ('{"kind": "other"}', "expected the format made-up set"),
    ],
)
def test_an_hdf5_file_of_another_format_is_refused(tmp_path, text, said):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        assert FORM.of_hdf5(file, "a.h5") == {}
        file.attrs["manifest"] = '{"seed": 1}'
        assert FORM.of_hdf5(file, "a.h5") == {"seed": 1}
        file.attrs["manifest"] = text
        with pytest.raises(DatasetError, match=f"^a.h5: .*{said}"):
            FORM.of_hdf5(file, "a.h5", error=DatasetError)


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ({"seed": 3}, {"seed": 4}, "its seed is 3, not 4"),
        ({"a": {"b": 1}, "seed": 3}, {"a": {"b": 2}, "seed": 4}, "its seed is 3, not 4"),
        ({"a": [1]}, {"a": [2]}, "its a differs"),
        ({"a": 1}, {}, "its a is 1, not None"),
        ({}, {"a": "x" * 100}, f"its a is None, not {'x' * 60}"),
    ],
)
def test_a_difference_is_told_by_the_first_plain_setting(found, wanted, said):
    assert difference(found, wanted) == said
