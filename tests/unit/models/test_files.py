import io
import json
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from deepfreak.datasets import Dataset
from deepfreak.errors import ModelError, OutputError
from deepfreak.features.glcm import GLCM
from deepfreak.features.sift import SIFT
from deepfreak.models import SVM, Forest, PerceptronLearner, load_model, save_model, train
from deepfreak.models.archive import MAX_MANIFEST_BYTES, MAX_MEMBERS, pack
from tests.labelled import draw_images, write_labelled


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("files") / "data.h5", np.arange(40) % 5, side=64)


def learn(data_file, extractor, classifier):
    with Dataset.open(data_file) as data:
        return train(data, extractor=extractor, classifier=classifier, seed=3)


@pytest.fixture(scope="module")
def model(data_file):
    return learn(data_file, GLCM(distances=(1,)), Forest(trees=4))


@pytest.fixture(scope="module")
def svm(data_file):
    return learn(data_file, GLCM(distances=(1,)), SVM(C=2, gamma=0))


@pytest.fixture(scope="module")
def perceptrons(data_file):
    return learn(
        data_file, GLCM(distances=(1,)), PerceptronLearner(hidden=3, members=2, decay=0.01)
    )


@pytest.fixture(scope="module")
def words(data_file):
    sift = SIFT(clusters=4, contrast_threshold=0.005)
    return learn(data_file, sift, Forest(trees=3, class_weight=(0.3, 0.3, 0.1, 0.1, 0.1)))


def save(model, folder):
    path = folder / "a.model"
    save_model(model, path)
    return path


@pytest.fixture
def saved(model, tmp_path):
    return save(model, tmp_path)


@pytest.fixture
def saved_svm(svm, tmp_path):
    return save(svm, tmp_path)


@pytest.fixture
def saved_perceptrons(perceptrons, tmp_path):
    return save(perceptrons, tmp_path)


@pytest.fixture
def saved_words(words, tmp_path):
    return save(words, tmp_path)


def rewrite(path, *, manifest=None, members=None, drop=()):
    """Change the manifest of a model file by a function, add or replace members, drop others."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist() if name not in drop}
    if manifest is not None:
        value = json.loads(contents["manifest.json"])
        contents["manifest.json"] = json.dumps(manifest(value)).encode()
    contents.update(members or {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in contents.items():
            new.writestr(name, content)
    return path


def with_array(path, member, change):
    """Change an array of a file; `change` may return a new one."""
    with zipfile.ZipFile(path) as old:
        array = np.load(io.BytesIO(old.read(member)))
    changed = change(array)
    buffer = io.BytesIO()
    np.save(buffer, array if changed is None else changed)
    return rewrite(path, members={member: buffer.getvalue()})


def refused(path, match):
    with pytest.raises(ModelError, match=match) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["model", "svm", "perceptrons", "words"])
def test_a_loaded_model_answers_as_the_one_saved(kind, tmp_path, request):
    model = request.getfixturevalue(kind)
    loaded = load_model(save(model, tmp_path))
    images = draw_images(np.arange(10) % 5, seed=8, side=64)
    np.testing.assert_array_equal(loaded.probabilities(images), model.probabilities(images))
    assert (loaded.name, loaded.classes) == (model.name, model.classes)
    assert loaded.extractor.settings() == model.extractor.settings()
    assert loaded.manifest == model.manifest
    assert loaded.classifier.accuracy_held_out == model.classifier.accuracy_held_out


@pytest.mark.parametrize("kind", ["saved", "saved_svm", "saved_perceptrons", "saved_words"])
def test_no_file_holds_a_pickle(kind, request):
    with zipfile.ZipFile(request.getfixturevalue(kind)) as held:
        names = held.namelist()
    assert all(name.endswith((".npy", ".json")) for name in names)


@pytest.mark.parametrize("kind", ["saved", "saved_svm", "saved_perceptrons"])
def test_no_scikit_learn_is_needed_to_load_a_model_and_to_classify(kind, request):
    path = request.getfixturevalue(kind)
    program = (
        "import sys; import numpy as np; from deepfreak.models import load_model;"
        f"model = load_model({str(path)!r});"
        "model.probabilities(np.arange(64**2).reshape(1, 64, 64).astype(np.uint8));"
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_manifest_can_be_read_with_any_zip_tool(model, saved):
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest == {
        "format": "deepfreak-model", "version": 1, "kind": "features", **model.manifest,
    }  # fmt: skip


def test_a_forest_of_many_images_stays_small():
    rng = np.random.default_rng(0)
    # Labels without pattern make the largest trees there can be: one leaf for each few vectors.
    vectors, labels = rng.random((1000, 12)), rng.integers(0, 5, 1000)
    forest = Forest(trees=20, max_depth=20).fit(vectors, labels, classes=5)
    assert len(pack("features", {}, {"classifier": forest.arrays()})) / len(forest.feature) < 10


def test_an_existing_file_is_kept_unless_told_otherwise(model, saved):
    before = saved.read_bytes()
    with pytest.raises(OutputError, match="overwrite"):
        save_model(model, saved)
    assert saved.read_bytes() == before
    save_model(model, saved, overwrite=True)
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(
    "content", [b"", b"no model", b"PK\x03\x04" + bytes(50), b"\x80\x04K\x01."]
)
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "a.model"
    path.write_bytes(content)
    refused(path, "expected a model file made by `deepfreak model train`")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.model", "cannot read")
    refused(tmp_path, "cannot read")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_half_a_model_is_refused(saved, part):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * part)])
    refused(saved, "something else or half of one")


def test_a_flipped_byte_is_noticed_or_changes_nothing(model, saved):
    """A few bytes of a zip archive, such as times of day, are never read."""
    content = saved.read_bytes()
    images = draw_images(np.arange(5), seed=8, side=64)
    answers = model.probabilities(images)
    noticed = 0
    for place in np.linspace(0, len(content) - 1, 60).astype(int):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        saved.write_bytes(flipped)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = load_model(saved)
            except ModelError as error:
                noticed += str(saved) in str(error) and "\n" not in str(error)
                continue
        assert loaded.manifest == model.manifest
        np.testing.assert_array_equal(loaded.probabilities(images), answers)
    assert noticed >= 40


def test_a_file_that_is_too_large_is_refused_before_it_is_read(saved):
    with pytest.raises(ModelError, match="at most .* MB, found more") as caught:
        load_model(saved, max_bytes=1000)
    assert str(saved) in str(caught.value)


def test_a_file_that_would_be_too_large_is_not_written(model, tmp_path):
    with pytest.raises(OutputError, match="fewer or shallower trees"):
        save_model(model, tmp_path / "large.model", max_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_a_manifest_that_unpacks_to_too_much_is_refused(saved):
    rewrite(saved, members={"manifest.json": bytes(MAX_MANIFEST_BYTES + 1)})
    refused(saved, "a manifest of at most 32 MB, found 32 MB")


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(saved):
    for member in ("more/a.npy", "more/b.npy"):
        with zipfile.ZipFile(saved, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, b"")
        # what a header claims of a member is believed by nobody
        content = saved.read_bytes()
        place = content.rindex(member.encode()) - 46 + 24
        assert content[place : place + 4] == bytes(4)
        claim = (2**30 - 1).to_bytes(4, "little")
        saved.write_bytes(content[:place] + claim + content[place + 4 :])
    refused(saved, "at most 64 members and 1024 MB unpacked, found .* members and 20")


def test_too_many_members_are_refused(saved):
    rewrite(saved, members={f"more/{index}.npy": b"" for index in range(MAX_MEMBERS)})
    refused(saved, "at most 64 members")


@pytest.mark.parametrize("member", ["model.pkl", "classifier/code.py", "npy"])
def test_anything_but_arrays_and_a_manifest_is_refused(saved, member):
    refused(rewrite(saved, members={member: b"print()"}), f"arrays only, found '{member}'")


def test_an_array_whose_header_claims_more_than_there_is_is_refused(saved):
    name = "classifier/threshold.npy"
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    rewrite(saved, members={name: buffer.getvalue() + bytes(64)})
    refused(saved, "expected an array")


def put(value, *place):
    """Return a function that puts `value` at a place of an array."""

    def change(array):
        array[place] = value

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("roots", put(-1, 0)),
        ("roots", put(10**9, 1)),
        ("roots", lambda roots: roots[:0]),
        ("roots", lambda roots: roots[0]),
        ("roots", lambda roots: roots.astype(np.int64)),
        ("children", put(10**9, 0, 0)),
        ("children", put(2**31 - 1, 0, 1)),
        # a circle: the root's own child is the root, or one before it
        ("children", put(0, 0, 1)),
        ("children", put(-1, 1, 0)),
        ("children", put(1, -1, 0)),
        ("children", lambda children: children[:-1]),
        ("children", lambda children: children[:, :1]),
        ("children", lambda children: children.ravel()),
        ("feature", put(10**6, 0)),
        ("feature", put(-5, 0)),
        ("feature", put(10**6, -1)),
        ("feature", put(-1, -1)),
        ("feature", lambda feature: feature[:-1]),
        ("threshold", put(np.nan, 0)),
        ("threshold", lambda threshold: threshold.astype(np.float64)),
        ("leaves", put(np.inf, 0, 0)),
        ("leaves", lambda leaves: leaves[:, :-1]),
        ("leaves", lambda leaves: leaves[:0]),
    ],
)
def test_a_forest_whose_arrays_do_not_fit_or_point_outside_is_refused(saved, name, change):
    refused(with_array(saved, f"classifier/{name}.npy", change), "do not fit one another")


@pytest.mark.parametrize("name", ["roots", "children", "feature", "threshold", "leaves"])
def test_a_forest_without_one_of_its_arrays_is_refused(saved, name):
    refused(rewrite(saved, drop=(f"classifier/{name}.npy",)), "do not fit one another")


def test_a_forest_that_gives_other_probabilities_is_refused_with_both_versions(saved):
    def plant(manifest):
        manifest["check"]["probabilities"][0] = [0.2] * 5
        manifest["versions"]["deepfreak"] = "0.0.1"
        return manifest

    refused(rewrite(saved, manifest=plant), r"made with 0\.0\.1: it gives other probabilities")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("counts", lambda counts: counts + 1),
        ("counts", lambda counts: counts * [1, -1, 1, 1, 1]),
        ("counts", lambda counts: counts.astype(np.float64)),
        ("counts", lambda counts: counts + np.array([2**62, 2**62, 2**62, 2**62, 0])),
        ("support", lambda support: support[:, :-1]),
        ("support", lambda support: support[:-1]),
        ("support", lambda support: support.ravel()),
        ("support", lambda support: support * np.nan),
        ("coefficients", lambda coefficients: coefficients[:-1]),
        ("coefficients", lambda coefficients: coefficients.astype(np.float32)),
        ("offsets", lambda offsets: offsets[:3]),
        ("scale", lambda scale: scale * 0),
        ("gamma", lambda gamma: -gamma),
        ("temperature", lambda temperature: temperature * 0),
        ("temperature", lambda temperature: temperature[None]),
    ],
)
def test_an_svm_whose_arrays_do_not_fit_is_refused(saved_svm, name, change):
    refused(with_array(saved_svm, f"classifier/{name}.npy", change), "do not fit one another")


def test_an_svm_that_gives_other_probabilities_is_refused(saved_svm):
    path = with_array(saved_svm, "classifier/offsets.npy", lambda offsets: offsets + 0.1)
    refused(path, "other probabilities")


def test_an_svm_without_one_of_its_arrays_is_refused(saved_svm):
    refused(rewrite(saved_svm, drop=("classifier/mean.npy",)), "do not fit one another")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("low", lambda low: low + 1e6),
        ("mean", lambda mean: mean[:-1]),
        ("scale", lambda scale: scale * 0),
        ("weights_0", lambda weights: weights[:1]),
        ("weights_0", lambda weights: weights[:, :-1]),
        ("weights_0", lambda weights: weights * np.nan),
        ("weights_1", lambda weights: weights.astype(np.float32)),
        ("biases_1", lambda biases: biases[:, :-1]),
        ("slope", lambda slope: -slope),
    ],
)
def test_perceptrons_whose_arrays_do_not_fit_are_refused(saved_perceptrons, name, change):
    refused(with_array(saved_perceptrons, f"classifier/{name}.npy", change), "do not fit")


def test_perceptrons_that_give_other_probabilities_are_refused(saved_perceptrons):
    path = with_array(saved_perceptrons, "classifier/biases_0.npy", lambda biases: biases + 0.1)
    refused(path, "other probabilities")


def test_an_array_of_objects_is_refused_and_never_unpickled(saved_svm):
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    refused(
        rewrite(saved_svm, members={"classifier/mean.npy": buffer.getvalue()}), "expected an array"
    )


def test_a_codebook_of_another_shape_is_refused(saved_words):
    member = "extractor/codebook.npy"
    refused(with_array(saved_words, member, lambda book: book[:-1]), "codebook")
    refused(rewrite(saved_words, drop=(member,)), "expected a model file|codebook")


def test_a_codebook_with_its_words_exchanged_is_noticed(saved_words):
    member = "extractor/codebook.npy"
    refused(with_array(saved_words, member, lambda book: book[::-1].copy()), "other features")


def test_an_extractor_that_has_changed_since_is_noticed(saved):
    def plant(manifest):
        manifest["check"]["probe"][3] *= 1.001
        return manifest

    refused(rewrite(saved, manifest=plant), "deepfreak .*: its extractor finds other features")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 2}, "expected the format deepfreak-model version 1, found 2 version 1"),
        ({"version": 2}, "found 'deepfreak-model' version 2"),
        ({"kind": "network"}, "a model of evidence or features, found 'network'"),
        ({"kind": "evidence"}, "complete manifest"),
        ({"extractor": {"extractor": "fourier"}}, "found 'fourier'"),
        ({"extractor": {"extractor": "sift", "clusters": 4}}, "array 'codebook'"),
        ({"extractor": {"extractor": "lbp"}}, r"expected vectors of shape \(5, 26\)"),
        ({"extractor": {"extractor": "glcm", "distances": [1, 2]}}, "expected vectors of shape"),
        ({"extractor": {"extractor": "glcm", "distances": [7]}}, "extractor finds other features"),
        ({"classes": ["a", "b"]}, "expected vectors of shape"),
        ({"classes": [{}, "b"]}, "complete manifest"),
        ({"classes": "blank"}, "complete manifest"),
        ({"classes": ["a", "a"]}, "complete manifest"),
        ({"check": {}}, "expected vectors of shape"),
        ({"check": {"vectors": [[1.0]], "probabilities": [[1.0]]}}, "expected vectors of shape"),
        (
            {"check": {"vectors": "x", "probabilities": [], "probe": []}},
            "expected vectors of shape",
        ),
        ({"classifier": {"classifier": "boosted"}}, "forest, svm, perceptrons, found 'boosted'"),
        ({"classifier": {"classifier": "svm"}}, "do not fit one another"),
        ({"classifier": {}}, "found None"),
        ({"accuracy_held_out": "high"}, "complete manifest"),
        ({"versions": None}, "complete manifest"),
        ({"classifier_sha256": None}, "complete manifest"),
        ({"classifier_sha256": "0" * 64}, "found another"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(saved, change, match):
    refused(rewrite(saved, manifest=lambda manifest: {**manifest, **change}), match)


def test_a_manifest_that_is_missing_is_noticed(saved):
    refused(rewrite(saved, drop=("manifest.json",)), "something else or half of one")


def test_a_model_keeps_what_the_command_adds_to_its_manifest(model, tmp_path):
    path = tmp_path / "named.model"
    save_model(
        replace(model, manifest={"command": "deepfreak model train", **model.manifest}), path
    )
    assert load_model(path).manifest["command"] == "deepfreak model train"
