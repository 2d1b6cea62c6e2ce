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
from deepfreak.models import (
    SVM,
    Forest,
    PerceptronLearner,
    archive,
    files,
    load_model,
    save_model,
    train,
)
from deepfreak.models.vector_model import probe
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
    path = folder / "model.skops"
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


def rewrite(path, *, schema=None, manifest=None, members=None, drop=()):
    """Change the JSON of a model file by functions, add or replace members, drop others."""
    changed = {"schema.json": schema, "manifest.json": manifest}
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist() if name not in drop}
    for name, change in changed.items():
        if change is not None:
            value = json.loads(contents[name])
            contents[name] = json.dumps(change(value)).encode()
    contents.update(members or {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in contents.items():
            new.writestr(name, content)
    return path


def tree_members(path):
    """Return the names of the members that hold the nodes of the trees."""
    with zipfile.ZipFile(path) as old:
        return [
            name
            for name in old.namelist()
            if name.endswith(".npy") and b"left_child" in old.read(name)[:300]
        ]


def with_nodes(path, change):
    """Change the nodes of the first tree."""
    name = tree_members(path)[0]
    with zipfile.ZipFile(path) as old:
        nodes = np.load(io.BytesIO(old.read(name)))
    change(nodes)
    buffer = io.BytesIO()
    np.save(buffer, nodes)
    return rewrite(path, members={name: buffer.getvalue()})


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


@pytest.mark.parametrize("kind", ["saved_svm", "saved_perceptrons"])
def test_plain_arrays_need_no_scikit_learn_to_be_loaded_and_asked(kind, request):
    path = request.getfixturevalue(kind)
    program = (
        "import sys; import numpy as np; from deepfreak.models import load_model;"
        f"model = load_model({str(path)!r});"
        "model.probabilities(np.arange(64**2).reshape(1, 64, 64).astype(np.uint8));"
        "assert not {'sklearn', 'skops'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_manifest_can_be_read_with_any_zip_tool(model, saved):
    with zipfile.ZipFile(saved) as archive:
        assert json.loads(archive.read("manifest.json")) == model.manifest


def test_a_forest_of_many_images_stays_small():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    # Labels without pattern make the largest trees there can be: one leaf for each few vectors.
    vectors, labels = rng.random((1000, 12)), rng.integers(0, 5, 1000)
    forest = RandomForestClassifier(20, max_depth=20, random_state=0).fit(vectors, labels)
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    import skops.io

    size = len(skops.io.dumps(forest, compression=zipfile.ZIP_DEFLATED, compresslevel=9))
    assert size / nodes < 30


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
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    refused(path, "expected a model file made by `deepfreak model train`")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.skops", "cannot read")
    refused(tmp_path, "cannot read")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_half_a_model_is_refused(saved, part):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * part)])
    refused(saved, "something else or half of one")


def test_a_flipped_byte_is_noticed_or_changes_nothing(model, saved):
    """A few bytes of a zip archive, such as times of day, are read by nobody."""
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


def test_a_file_that_is_too_large_is_refused_before_it_is_read(saved, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    refused(saved, "at most")


def test_a_file_that_would_be_too_large_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(OutputError, match="fewer or shallower trees"):
        save_model(model, tmp_path / "large.skops")
    assert not list(tmp_path.iterdir())


def test_an_archive_that_unpacks_to_too_much_is_refused(saved):
    rewrite(saved, members={"zeros.bin": bytes(archive.MAX_JSON_BYTES + 1)})
    refused(saved, "MB of JSON")


def test_too_many_members_are_refused(saved, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    refused(saved, "at most 3 members")


def test_an_array_whose_header_claims_more_than_there_is_is_refused(saved):
    name = tree_members(saved)[0]
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    rewrite(saved, members={name: buffer.getvalue() + bytes(64)})
    refused(saved, "expected an array")


def test_a_function_in_the_file_is_refused_and_never_called(saved, tmp_path):
    witness = tmp_path / "called"
    call = {
        "__class__": "function",
        "__module__": "os",
        "__loader__": "FunctionNode",
        "content": {"module_path": "os", "function": "mkdir"},
        "__id__": 1,
    }

    def plant(schema):
        schema["content"]["content"]["verbose"] = call
        return schema

    refused(rewrite(saved, schema=plant), "found 'os.function'")
    assert not witness.exists()


def test_another_estimator_is_refused_though_skops_trusts_it(saved):
    import skops.io
    from sklearn.linear_model import LogisticRegression

    with zipfile.ZipFile(saved) as old:
        manifest = old.read("manifest.json")
    buffer = io.BytesIO(skops.io.dumps(LogisticRegression()))
    with zipfile.ZipFile(buffer, "a") as new:
        new.writestr("manifest.json", manifest)
    saved.write_bytes(buffer.getvalue())
    refused(saved, "LogisticRegression")


def test_one_id_for_two_objects_is_refused(saved):
    def plant(schema):
        content = schema["content"]["content"]
        content["n_outputs_"]["__id__"] = content["n_estimators"]["__id__"]
        return schema

    refused(rewrite(saved, schema=plant), "one object for each id")


def test_a_tree_of_more_outputs_is_refused(saved):
    def plant(schema):
        for node in archive._nodes(schema):
            if node["__loader__"] == "TreeNode":
                outputs = node["__reduce__"]["args"]["content"][2]
                outputs.update(content="1000000", __id__=77)
        return schema

    refused(rewrite(saved, schema=plant), "one output")


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**9), ("right_child", 0), ("feature", 10**6), ("feature", -5)],
)
def test_a_tree_that_points_outside_is_refused(saved, field, value):
    def plant(nodes):
        nodes[field][0] = value

    refused(with_nodes(saved, plant), "damaged trees")


def test_a_tree_that_claims_other_nodes_than_it_has_is_refused(saved):
    def plant(schema):
        for node in archive._nodes(schema):
            if node["__loader__"] == "TreeNode":
                node["content"]["content"]["node_count"].update(content="1", __id__=78)
        return schema

    refused(rewrite(saved, schema=plant), "damaged trees")


def test_a_forest_that_answers_otherwise_is_refused_with_both_versions(saved):
    def plant(manifest):
        manifest["check"]["probabilities"][0] = [0.2] * 5
        manifest["versions"]["scikit-learn"] = "0.99"
        return manifest

    refused(rewrite(saved, manifest=plant), r"made with 0\.99: it answers otherwise")


def with_array(path, member, change):
    """Change an array of a file; `change` may return a new one."""
    with zipfile.ZipFile(path) as old:
        array = np.load(io.BytesIO(old.read(member)))
    changed = change(array)
    buffer = io.BytesIO()
    np.save(buffer, array if changed is None else changed)
    return rewrite(path, members={member: buffer.getvalue()})


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
    refused(with_array(saved_svm, f"svm/{name}.npy", change), "do not fit one another")


def test_an_svm_that_answers_otherwise_is_refused(saved_svm):
    refused(with_array(saved_svm, "svm/offsets.npy", lambda offsets: offsets + 0.1), "otherwise")


def test_an_svm_without_one_of_its_arrays_is_refused(saved_svm):
    refused(rewrite(saved_svm, drop=("svm/mean.npy",)), "do not fit one another")


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
    refused(with_array(saved_perceptrons, f"perceptrons/{name}.npy", change), "do not fit")


def test_perceptrons_that_answer_otherwise_are_refused(saved_perceptrons):
    path = with_array(saved_perceptrons, "perceptrons/biases_0.npy", lambda biases: biases + 0.1)
    refused(path, "answers otherwise")


def test_an_array_of_objects_is_refused_and_never_unpickled(saved_svm):
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    refused(rewrite(saved_svm, members={"svm/mean.npy": buffer.getvalue()}), "expected an array")


def test_a_codebook_of_another_shape_is_refused(saved_words):
    member = "extractor/codebook.npy"
    refused(with_array(saved_words, member, lambda book: book[:-1]), "codebook")
    refused(rewrite(saved_words, drop=(member,)), "expected a model file|codebook")


def test_a_codebook_with_its_words_exchanged_is_noticed(saved_words):
    member = "extractor/codebook.npy"
    refused(with_array(saved_words, member, lambda book: book[::-1].copy()), "other numbers")


def test_an_extractor_that_has_changed_since_is_noticed(saved, monkeypatch):
    other = GLCM(distances=(1,))(probe())
    other[3] *= 1.001
    monkeypatch.setattr(GLCM, "__call__", lambda *_: other)
    refused(saved, "deepfreak .*: its extractor finds other numbers")


def test_a_file_of_version_0_1_is_still_read_and_can_be_saved_again(model, saved, tmp_path):
    def old(manifest):
        forest = manifest.pop("classifier") | {"seed": manifest.pop("seed")}
        del forest["classifier"]
        del manifest["check"]["probe"]
        return manifest | {
            "format": 1,
            "forest": forest,
            "forest_sha256": manifest.pop("classifier_sha256"),
            "accuracy_out_of_bag": manifest.pop("accuracy_held_out"),
        }

    loaded = load_model(rewrite(saved, manifest=old))
    assert loaded.name == model.name
    assert loaded.manifest == model.manifest
    save_model(loaded, tmp_path / "again.skops")
    assert load_model(tmp_path / "again.skops").name == model.name


def test_another_version_that_answers_alike_is_accepted(saved):
    def plant(schema):
        for node in archive._nodes(schema):
            content = node.get("content")
            versioned = content.get("content") if isinstance(content, dict) else None
            if isinstance(versioned, dict) and "_sklearn_version" in versioned:
                versioned["_sklearn_version"].update(content='"1.6.0"', __id__=79)
        return schema

    assert load_model(rewrite(saved, schema=plant)).classes[0] == "blank"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 3}, "format 2, found 3"),
        ({"format": 1}, "complete manifest"),
        ({"extractor": {"extractor": "fourier"}}, "found 'fourier'"),
        ({"extractor": {"extractor": "sift", "clusters": 4}}, "array 'codebook'"),
        ({"extractor": {"extractor": "lbp"}}, "recorded vectors of 26 features"),
        ({"extractor": {"extractor": "glcm", "distances": [1, 2]}}, "recorded vectors"),
        ({"extractor": {"extractor": "glcm", "distances": [7]}}, "extractor finds other numbers"),
        ({"classes": ["a", "b"]}, "recorded vectors"),
        ({"classes": [{}, "b"]}, "complete manifest"),
        ({"classes": "blank"}, "complete manifest"),
        ({"classes": ["a", "a"]}, "complete manifest"),
        ({"check": {}}, "complete manifest"),
        ({"check": {"vectors": [[1.0]], "probabilities": [[1.0]]}}, "complete manifest"),
        ({"check": {"vectors": "x", "probabilities": [], "probe": []}}, "recorded vectors"),
        ({"classifier": {"classifier": "boosted"}}, "svm or perceptrons, found 'boosted'"),
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
    path = tmp_path / "named.skops"
    save_model(
        replace(model, manifest={"command": "deepfreak model train", **model.manifest}), path
    )
    assert load_model(path).manifest["command"] == "deepfreak model train"
