import io
import json
import zipfile
from itertools import pairwise

import numpy as np
import pytest

from deepfreak.errors import ModelError
from deepfreak.models import EvidenceModel, Perceptrons, load_model, save_model
from deepfreak.models.evidence_model import numbers_of_image
from deepfreak.models.vector_model import probe
from tests.evidence_models import made_model, made_table

CLASSES = ("no-diffraction", "diffraction")


def perceptrons(rng, names, outputs, hidden=(), members=1, **settings):
    sizes = [len(names), *hidden, outputs]
    layers = list(pairwise(sizes))
    return Perceptrons(
        names=tuple(names),
        low=rng.uniform(-2, -1, len(names)),
        high=rng.uniform(1, 2, len(names)),
        mean=rng.normal(0, 1, len(names)),
        scale=rng.uniform(0.5, 2, len(names)),
        weights=tuple(rng.normal(0, 1, (members, *layer)) for layer in layers),
        biases=tuple(rng.normal(0, 1, (members, layer[1])) for layer in layers),
        **settings,
    )


@pytest.mark.parametrize("hidden", [(), (7,), (7, 3)])
def test_an_ensemble_is_the_mean_of_its_members_one_by_one(hidden):
    rng = np.random.default_rng(0)
    head = perceptrons(rng, "abcd", 2, hidden, 3, slope=1.5, offset=-0.25)
    values = rng.normal(0, 3, (6, 4))
    expected = np.zeros((6, 2))
    for row, member in np.ndindex(6, 3):
        clipped = np.minimum(np.maximum(values[row], head.low), head.high)
        layer = (clipped - head.mean) / head.scale
        for depth in range(len(head.weights)):
            layer = np.tanh(layer) if depth else layer
            layer = layer @ head.weights[depth][member] + head.biases[depth][member]
        expected[row] += layer / 3
    np.testing.assert_allclose(head.outputs(values), 1.5 * expected - 0.25, atol=1e-12)


def test_numbers_beyond_the_training_range_are_clipped_and_told():
    head = perceptrons(np.random.default_rng(1), "ab", 1, (3,))
    inside = np.array([[head.high[0], 0.0]])
    wide = max(head.high[0] - head.low[0], head.scale[0])
    far = inside + np.array([2 * wide, 0.0])
    np.testing.assert_array_equal(head.outputs(inside), head.outputs(far))
    assert head.beyond(inside).max() == 0
    assert head.beyond(far)[0] == pytest.approx([2.0, 0.0])


def test_the_classes_are_the_two_of_real_images():
    model, table = made_model(), made_table(seed=1, count=60)
    rows = model.by_class(table.names, table.numbers)
    assert model.classes == CLASSES
    p_crystal = model.p_crystal(table.names, table.numbers)
    np.testing.assert_array_equal(rows, np.stack([1 - p_crystal, p_crystal], axis=1))
    # the model must work on synthetic frames for the tests below to mean anything
    assert ((p_crystal > 0.5) == (table.label == 1)).mean() > 0.9


def test_an_opinion_is_the_row_of_a_table_whatever_the_order_of_the_names():
    model, table = made_model(), made_table(seed=1, count=60)
    named = dict(zip(table.names, table.numbers[7], strict=True))
    found = model.opinion(dict(reversed(named.items())))
    assert found.p_crystal == pytest.approx(model.p_crystal(table.names, table.numbers)[7])
    assert found.second == pytest.approx(model.p_second(table.names, table.numbers)[7])
    assert found.unlike == pytest.approx(model.unlike(table.names, table.numbers)[7])
    assert sum(found.probabilities.values()) == pytest.approx(1)
    strange = model.opinion(named | {"ring_share": 40.0})
    assert strange.unlike > 10
    assert strange.farthest == "ring_share"


def test_images_are_judged_as_frames_and_missing_pixels_left_out():
    model, image = made_model(), probe()
    valid = np.ones(image.shape, np.bool_)
    valid[:, :256] = False
    rows = model.probabilities(np.stack([image, image]), np.stack([valid | True, valid]), workers=2)
    whole = model.opinion(numbers_of_image(image))
    assert rows[0] == pytest.approx(list(whole.probabilities.values()))
    assert rows[0, 1] > 0.5
    half = model.opinion(numbers_of_image(np.where(valid, image, 255).astype(np.uint8), valid))
    assert rows[1] == pytest.approx(list(half.probabilities.values()))
    assert model.probabilities(np.empty((0, 9, 9), np.uint8)).shape == (0, 2)


def test_a_number_that_is_missing_or_not_finite_is_named():
    model, table = made_model(), made_table()
    with pytest.raises(ModelError, match="the number 'off_rings_over_5'"):
        model.p_crystal(table.names[:1], table.numbers[:, :1])
    with pytest.raises(ModelError, match="finite"):
        model.p_crystal(table.names, table.numbers * np.nan)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.evidence"
    save_model(made_model(), path)
    return path


def test_a_model_comes_back_from_its_file(saved):
    model, table = load_model(saved), made_table()
    assert isinstance(model, EvidenceModel)
    assert model.name == made_model().name
    assert model.hit_share == 0.5
    assert model.manifest["made"] == "in a test"
    np.testing.assert_array_equal(
        model.by_class(table.names, table.numbers),
        made_model().by_class(table.names, table.numbers),
    )


def test_a_shipped_model_of_evidence_is_the_default(saved, tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "diffranet.model").write_bytes(b"no model")
    monkeypatch.setattr("deepfreak.models.shipped.resources.files", lambda _package: tmp_path)
    with pytest.raises(ModelError, match="the shipped model"):
        load_model()
    (tmp_path / "shipped" / "default.evidence").write_bytes(saved.read_bytes())
    assert load_model().name == made_model().name


def rewritten(path, *, manifest=lambda _: None, arrays=None, drop=()):
    """Change a model file: its manifest by a function, arrays by their new values."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist() if name not in drop}
    values = json.loads(contents["manifest.json"])
    manifest(values)
    contents["manifest.json"] = json.dumps(values).encode()
    for name, array in (arrays or {}).items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        contents[name] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)


K = 5


@pytest.mark.parametrize(
    "arrays",
    [
        {"crystal/mean.npy": np.zeros(K + 1)},
        {"crystal/mean.npy": np.full(K, np.nan)},
        {"crystal/scale.npy": np.zeros(K)},
        {"crystal/low.npy": np.full(K, 99.0)},
        {"crystal/slope.npy": np.array(-1.0)},
        {"crystal/weights_0.npy": np.ones((1, K, 2))},
        {"crystal/weights_0.npy": np.ones((2, K, 1))},
        {"crystal/weights_0.npy": np.ones((0, K, 1)), "crystal/biases_0.npy": np.ones((0, 1))},
        {"crystal/weights_0.npy": np.full((1, K, 1), 1e13)},
        {"crystal/weights_0.npy": np.ones((1, K, 1), np.float32)},
        {"crystal/weights_2.npy": np.ones((1, 1, 1)), "crystal/biases_2.npy": np.ones((1, 1))},
        {"crystal/more.npy": np.ones(3)},
        {"second/biases_0.npy": np.ones((1, 4))},
    ],
)
def test_arrays_that_do_not_fit_are_refused(saved, arrays):
    rewritten(saved, arrays=arrays)
    with pytest.raises(ModelError, match="found arrays that do not fit") as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(format=9), "format deepfreak-model version 1, found 9"),
        (lambda m: m.update(hit_share=1.0), "complete manifest"),
        (lambda m: m.update(hit_share="half"), "complete manifest"),
        (lambda m: m.update(heads=[]), "complete manifest"),
        (lambda m: m["heads"].update(other={}), "complete manifest"),
        (lambda m: m["heads"].update(crystal=None), "do not fit"),
        (lambda m: m["heads"].update(crystal=["a"] * K), "do not fit"),
        (lambda m: m["heads"].update(crystal=list(range(K))), "do not fit"),
        (lambda m: m.update(sha256="0"), "found another"),
        (lambda m: m.pop("check"), "recorded probabilities"),
        (lambda m: m["check"].update(answers=[0.5] * 7), "recorded probabilities"),
        (lambda m: m["check"].update(numbers={}), "other evidence"),
        (lambda m: m["check"]["numbers"].update(off_rings_over_5=1.0), "other evidence"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(saved, change, said):
    rewritten(saved, manifest=change)
    with pytest.raises(ModelError, match=said):
        load_model(saved)


def test_a_model_that_was_changed_is_not_taken_for_the_one_it_names(saved):
    weights = made_model().crystal.weights[0]
    rewritten(saved, arrays={"crystal/weights_0.npy": weights * 1.001})
    with pytest.raises(ModelError, match="found another"):
        load_model(saved)


def test_a_missing_array_and_half_a_file_are_refused(saved):
    content = saved.read_bytes()
    rewritten(saved, drop=("second/low.npy",))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(saved)
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="half of one"):
        load_model(saved)
