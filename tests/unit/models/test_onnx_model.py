"""Checks of an ONNX file before it is trusted."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from deepfreak.errors import FrameError, ModelError
from deepfreak.models import load_model
from deepfreak.models.onnx_file import MAX_FIELDS
from deepfreak.models.onnx_model import METADATA, network_from, probes
from deepfreak.networks.export import export_onnx
from tests.unit.networks.served import SIDE, SMALL, images_of, model_of


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "model.onnx"
    export_onnx(model_of(SMALL), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def served(content):
    return network_from(content)


def changed(content, change):
    """Return the bytes after `change` of the model."""
    model = onnx.load_model_from_string(content)
    change(model)
    return model.SerializeToString()


def with_manifest(content, change):
    """Return the bytes after `change` of the manifest."""

    def rewrite(model):
        (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA)
        manifest = json.loads(entry.value)
        entry.value = json.dumps(change(manifest))

    return changed(content, rewrite)


def refused(content, match):
    with pytest.raises(ModelError, match=match) as caught:
        network_from(content)
    assert "\n" not in str(caught.value)


def test_an_image_is_judged_alike_alone_and_among_others(served):
    images = images_of(6)
    together = served.probabilities(images)
    np.testing.assert_array_equal(served.probabilities(images, workers=3), together)
    for index in range(6):
        alone = served.probabilities(images[index : index + 1])
        np.testing.assert_array_equal(alone[0], together[index])
    np.testing.assert_array_equal(served.look(images)[0], together)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-12)


def test_no_images_have_no_probabilities(served):
    assert served.probabilities(images_of(0)).shape == (0, 5)


def test_pixels_that_are_not_valid_decide_nothing(served):
    images = images_of(3)
    valid = np.ones(images.shape, np.bool_)
    valid[:, 10:30, 20:50] = False
    hidden = np.where(valid, images, 255).astype(np.uint8)
    np.testing.assert_array_equal(
        served.probabilities(hidden, valid), served.probabilities(images, valid)
    )
    assert np.abs(served.probabilities(hidden) - served.probabilities(images)).max() > 1e-4
    everywhere = np.ones(images.shape, np.bool_)
    np.testing.assert_array_equal(
        served.probabilities(images, everywhere), served.probabilities(images)
    )


@pytest.mark.parametrize(
    "images", [np.zeros((1, 32, 32), np.uint8), np.zeros((1, SIDE, SIDE), np.float32)]
)
def test_other_images_are_refused(served, images):
    with pytest.raises(FrameError, match=f"expected uint8 images of {SIDE} x {SIDE}"):
        served.probabilities(images)
    with pytest.raises(FrameError, match="prepare them"):
        served.look(images)


def test_valid_pixels_of_another_size_are_refused(served):
    with pytest.raises(FrameError, match="expected valid pixels"):
        served.probabilities(images_of(2), np.ones((1, SIDE, SIDE), np.bool_))


def test_the_name_is_that_of_the_file(served, content):
    assert served.name == f"bottlenecks network {served.sha256[:8]}"
    assert network_from(content).name == served.name


def test_probes_are_drawn_at_any_size():
    for side in (8, 64, 512, 700):
        images, valid = probes(side)
        assert images.shape == valid.shape == (3, side, side)
        assert valid[:2].all()
        assert 0 < valid[2].mean() < 1


def test_no_torch_is_needed_to_load_and_to_ask(content, tmp_path):
    (tmp_path / "a.onnx").write_bytes(content)
    program = (
        "import sys; import numpy as np; from deepfreak.models import load_model;"
        f"model = load_model({str(tmp_path / 'a.onnx')!r});"
        f"model.look(np.zeros((1, {SIDE}, {SIDE}), np.uint8));"
        "assert not {'torch', 'onnx', 'sklearn', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind", ["empty", "text", "zip", "half", "tail"])
def test_what_is_no_network_is_one_line_with_the_name_of_the_file(content, tmp_path, kind):
    path = tmp_path / "a.onnx"
    path.write_bytes(
        {
            "empty": b"",
            "text": b"this is no network\n" * 9,
            "zip": b"PK\x03\x04" + bytes(300),
            "half": content[: len(content) // 2],
            "tail": content + b"\xff",
        }[kind]
    )
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flipped_bits_are_refused_or_change_nothing_that_matters(content, served):
    rng = np.random.default_rng(6)
    images, valid = probes(SIDE)
    expected = served.probabilities(images, valid)
    refusals = []
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        try:
            found = network_from(bytes(damaged))
        except ModelError as error:
            refusals.append(str(error))
        else:
            np.testing.assert_allclose(found.probabilities(images, valid), expected, atol=1e-4)
    assert len(refusals) > 5
    assert not any("\n" in line for line in refusals)


def test_too_large_a_file_is_refused_before_it_is_looked_at():
    with pytest.raises(ModelError, match="expected a network of at most 1 MB, found 2 MB"):
        network_from(bytes(2**21), max_bytes=2**20)


def test_probabilities_are_the_same_with_and_without_the_maps(served):
    images = images_of(2)
    np.testing.assert_array_equal(served.probabilities(images), served.look(images)[0])


def test_a_field_that_is_longer_than_the_one_around_it_is_refused(content):
    def lengthen(model):
        model.graph.output[0].name = "n" * 200

    broken = changed(content, lengthen)
    place = broken.index(b"n" * 200)
    refused(broken[: place - 2] + b"\xff\x7f" + broken[place:], "one that it refuses")


def test_a_file_of_countless_fields_is_refused(content):
    # the version, again and again; the last one counts
    refused(b"\x08\x08" * MAX_FIELDS + content, "at most 200,000 fields")
    assert network_from(b"\x08\x08" * 1000 + content).classes


def test_weights_in_another_file_are_refused(content):
    def point(model):
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="/etc/passwd")

    refused(changed(content, point), "expected operators and weights only, found field 1[34]")

    def point_in_a_constant(model):
        tensor = onnx.TensorProto(data_type=1, dims=[4])
        tensor.external_data.add(key="location", value="weights.bin")
        node = helper.make_node("Constant", [], ["secret"])
        node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
        model.graph.node.append(node)

    refused(changed(content, point_in_a_constant), "found field 13")


def test_loops_functions_and_operators_of_others_are_refused(content):
    def loop(model):
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node("Loop", ["", ""], ["x"], body=body))

    def function(model):
        model.functions.add(name="f", domain="d")

    def other(model):
        model.graph.node.append(helper.make_node("F", ["image"], ["x"], domain="com.example"))

    def nested(model):
        node = helper.make_node("F", ["image"], ["x"])
        node.attribute.add(name="bodies", graphs=[helper.make_graph([], "body", [], [])])
        model.graph.node.append(node)

    for change, field in ((loop, 6), (function, 25), (other, 7), (nested, 11)):
        refused(changed(content, change), f"found field {field} of ONNX")


def test_an_operator_that_there_is_not_is_one_line_and_the_runtime_is_silent(content, capfd):
    def rename(model):
        model.graph.node[-1].op_type = "Nonsense"

    refused(changed(content, rename), "that onnxruntime .* can run, found one that it refuses")
    assert capfd.readouterr() == ("", "")


def test_other_inputs_and_outputs_are_refused(content):
    def rename(model):
        for put in (model.graph.input[0], *model.graph.node):
            if put.name == "image":
                put.name = "picture"
            for index, name in enumerate(getattr(put, "input", [])):
                if name == "image":
                    put.input[index] = "picture"

    def drop(model):
        del model.graph.output[1]

    def add(model):
        model.graph.output.append(model.graph.output[0])
        model.graph.output[2].name = model.graph.node[3].output[0]

    def fix(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    for change, match in (
        (rename, "expected image as"),
        (drop, "expected activation as"),
        (fix, r"found \('tensor\(uint8\)', 1, 64, 64\)"),
    ):
        refused(changed(content, change), match)
    # a name of an output that has no shape, or one more than there should be
    refused(changed(content, add), "expected")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda _: None, "the format deepfreak-network version 1, found None"),
        (lambda m: m | {"version": 7}, "version 7: use the version of deepfreak that made it"),
        (lambda m: m | {"classes": ["a"] * 5}, "complete manifest"),
        (lambda m: m | {"classes": list("abcd")}, "in 4 classes, found"),
        (lambda m: m | {"classes": list("abcdefg")}, "in 7 classes, found"),
        (lambda m: m | {"side": "64"}, "complete manifest"),
        (lambda m: m | {"side": 10**9}, "complete manifest"),
        (lambda m: m | {"side": 32}, "for images of 32 x 32"),
        (lambda m: m | {"network": {}}, "complete manifest"),
        (lambda m: m | {"versions": None}, "complete manifest"),
        (lambda m: m | {"check": {}}, "expected recorded outputs in 5 classes"),
        (
            lambda m: m | {"check": m["check"] | {"probabilities": [[1]]}},
            "expected recorded outputs in 5 classes",
        ),
        (
            lambda m: m | {"check": m["check"] | {"probabilities": [[0.2] * 5] * 3}},
            "expected the recorded outputs with onnxruntime",
        ),
        (
            lambda m: m | {"check": m["check"] | {"activation": [[[1.0, 2.0]] * 5] * 3}},
            "expected the recorded outputs with onnxruntime",
        ),
        (
            lambda m: m | {"check": m["check"] | {"probabilities": [[float("nan")] * 5] * 3}},
            "expected the recorded outputs with onnxruntime",
        ),
    ],
)
def test_an_incomplete_or_wrong_manifest_is_refused(content, change, match):
    refused(with_manifest(content, change), match)


def test_metadata_that_is_no_manifest_is_refused(content):
    refused(changed(content, lambda model: model.ClearField("metadata_props")), "found None")
    for text in ("{", "[" * 100_000):

        def spoil(model, text=text):
            model.metadata_props[0].value = text

        refused(changed(content, spoil), "expected a manifest of JSON")


def test_other_weights_do_not_give_the_recorded_answers(content):
    def blur(model):
        weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = numpy_helper.to_array(weights)
        weights.CopyFrom(numpy_helper.from_array(values * 1.05, weights.name))

    refused(changed(content, blur), "expected the recorded outputs")
