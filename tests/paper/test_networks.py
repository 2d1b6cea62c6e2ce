from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.stats import t

from deepfreak.classes import (
    GROUPS,
)
from deepfreak.errors import OutputError
from deepfreak.features import FeatureCache
from deepfreak.models.evaluation import Evaluation
from deepfreak.networks import (
    CONFIGURATION_B,
    FOR_PREPROCESSED_IMAGES,
    FOR_RAW_IMAGES,
    TOPOLOGIES,
    Topology,
    multiply_adds,
)
from deepfreak.networks.figures import mean_and_half_width
from paper import published
from paper.baselines import FOR_REAL
from paper.network_tables import Line, compared_lines
from paper.networks import CPU_SCALE, FULL_SCALE, PLAIN, Plan, make_record, scaled
from paper.networks import FOR_REAL as NETWORKS_FOR_REAL
from paper.record import Request
from tests.labelled import write_labelled

PLAN = Plan(filters=1, epochs=1, runs=2, our_epochs=1)
BEST = {
    "settings": {
        "topology": 9, "learning_rate": 0.5, "momentum": 0.75, "weight_decay": 2e-5,
        "batch_size": 4,
    },
    "accuracy": {"value": 0.75, "hits": 3, "total": 4},
    "epochs": 7,
}  # fmt: skip


def write(path, count, *, seed, splits, classes=None):
    kinds = {} if classes is None else {"classes": classes}
    labels = np.arange(count) % (5 if classes is None else len(classes))
    write_labelled(path, labels, seed=seed, side=512, **kinds)
    with h5py.File(path, "a") as file:
        there = file.create_group("splits").attrs
        for name, place in splits.items():
            there[name] = place
    return path


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    places = {"train": (0, 20), "validation": (20, 10), "test": (30, 10)}
    real = {"validation": (0, 4), "test": (4, 6)}
    return Request(
        data=write(folder / "toy.h5", 40, seed=1, splits=places),
        work=folder / "work",
        cache=FeatureCache(folder / "cache"),
        real={"raw": write(folder / "raw.h5", 10, seed=2, splits=real, classes=GROUPS)},
    )


def make(request, plan=PLAN, **options):
    """Return the record, and what was said."""
    said = []
    request = replace(request, say=said.append)
    return make_record(request, plan, command="python -m paper", device="cpu", **options), said


@pytest.fixture(scope="module")
def made(request_):
    return make(request_, searches={"synthetic": {"best": [BEST]}, "raw": {"best": [BEST]}})


def test_full_scale_is_the_papers_and_the_cpus_is_told_apart():
    assert scaled("B", CONFIGURATION_B, FULL_SCALE).architecture == CONFIGURATION_B.topology
    assert scaled("B", CONFIGURATION_B, FULL_SCALE).training == CONFIGURATION_B.training
    assert not FULL_SCALE.reduced
    assert CPU_SCALE.reduced
    by_image = replace(FULL_SCALE, normalise="image")
    assert not by_image.reduced
    topology = replace(CONFIGURATION_B.topology, normalise="image")
    assert scaled("B", CONFIGURATION_B, by_image).architecture == topology
    half = scaled("B", CONFIGURATION_B, replace(FULL_SCALE, precision="bf16")).training
    assert half == replace(CONFIGURATION_B.training, precision="bf16")
    for change in ({"filters": 8}, {"train": 9}, {"test": 9}, {"epochs": 179}, {"runs": 4}):
        assert replace(FULL_SCALE, **change).reduced


def test_larger_batches_have_a_larger_rate_and_each_image_normalised_by_itself():
    larger = scaled("B", CONFIGURATION_B, replace(FULL_SCALE, batch=32))
    rate = CONFIGURATION_B.training.learning_rate
    assert larger.training.learning_rate == pytest.approx(32 * rate)
    assert larger.architecture.normalise == "image"
    back = replace(larger.training, batch=1, learning_rate=rate)
    assert back == CONFIGURATION_B.training
    assert scaled("B", CONFIGURATION_B, replace(FULL_SCALE, batch=1)) == scaled(
        "B", CONFIGURATION_B, FULL_SCALE
    )


def test_the_plain_network_is_resnet_50_at_224_pixels():
    plain = scaled("plain", PLAIN, FULL_SCALE)
    assert plain.architecture == Topology() == TOPOLOGIES[0]
    assert plain.training.inputs.shrink_to == 224
    # torchvision's ResNet-50 has 4.09 billion with three channels of input
    assert plain.multiply_adds(classes=5, side=512) == multiply_adds(Topology(), size=224)


def test_what_the_paper_chose_for_real_images_is_what_its_tables_say():
    assert NETWORKS_FOR_REAL["raw"] == (15, FOR_RAW_IMAGES)
    assert NETWORKS_FOR_REAL["preprocessed"] == (17, FOR_PREPROCESSED_IMAGES)
    for variant, (forest, svm) in FOR_REAL.items():
        _, tables = published.TABLES_14_AND_16[variant]
        assert str(forest.extractor.points) == tables["forest"]["LBP points"]
        assert f"{forest.extractor.radius:g}" == tables["forest"]["LBP radius"]
        assert str(forest.classifier.trees) == tables["forest"]["trees"]
        assert str(forest.classifier.max_depth) == tables["forest"]["max depth"]
        assert str(forest.classifier.max_features) == tables["forest"]["max features"]
        assert str(svm.extractor.points) == tables["svm"]["LBP points"]
        assert f"2^{np.log2(svm.classifier.gamma):g}" == tables["svm"]["gamma"]
        assert (1 if tables["svm"]["C"] == "1" else 2.0**15) == svm.classifier.C


def test_the_interval_of_a_mean_is_students():
    runs = np.array([[0.5], [0.6], [0.7], [0.8], [0.9]])
    (mean,), (half,) = mean_and_half_width(runs)
    assert mean == pytest.approx(0.7)
    assert half == pytest.approx(t.ppf(0.9, 4) * np.std(runs, ddof=1) / np.sqrt(5))
    assert mean_and_half_width(runs[:1])[1] == 0


def test_two_classifiers_are_compared_on_the_runs_that_were_chosen():
    def said(verdicts):
        return Evaluation(
            model="m", data="d", classes=("a", "b"), truth=np.zeros(4, np.uint8),
            probabilities=np.eye(2)[verdicts], seconds_per_image=0.0,
        )  # fmt: skip

    one = Line(name="one", evaluations=(said([1, 1, 1, 1]), said([0, 0, 0, 1])), chosen=1)
    other = Line(name="other", evaluations=(said([1, 1, 1, 0]),))
    assert "3 images were classified correctly by the former only, 1 by" in compared_lines(
        one, other
    )


@pytest.mark.slow
def test_the_first_line_says_that_the_scale_is_reduced(made):
    record, _ = made
    assert record.summary[0].startswith("REDUCED SCALE")
    for part in (
        "1 filters",
        "20 training, 10 validation and 10 test",
        "1 epochs, 2 runs",
        "cores",
    ):
        assert part in record.summary[0]


@pytest.mark.slow
def test_every_table_of_the_paper_is_there_beside_its_figures(made):
    record, _ = made
    tables = {table.title.partition(":")[0]: table for table in record.tables}
    assert {"Table 5", "Table 6", "Table 7", "Table 11", "Table 15", "Section 4.3"} <= set(tables)
    five = {row[0]: row for row in tables["Table 5"].rows}
    assert [row[2] for row in five.values()] == ["98.45", "97.66", "98.51", "-", "-"]
    assert "(2 runs)" in five["DeepFreak (configuration B)"][3]
    assert "with running statistics" in tables["Table 5"].remarks[2]
    assert all("McNemar" in remark for remark in tables["Table 5"].remarks[3:])
    assert "(2368)" in tables["Table 6"].rows[3][4]
    seven = tables["Table 7"].rows
    # forest, SVM and network, each before and after the paper's choice on real images
    assert [row[1] for row in seven] == ["10", "6"] * 3
    assert [row[2] for row in seven] == ["43.86", "90.11", "50.42", "59.34", "76.06", "91.21"]
    assert tables["Section 4.3"].rows[0][1] == "96.79"
    eleven = [row[:6] for row in tables["Table 11"].rows]
    assert eleven[1][1:] == ("8", "8.4474e-04", "0.56168", "3.4855e-05", "1")
    assert eleven[3] == ("our search, 1", "9", "5.0000e-01", "0.75000", "2.0000e-05", "4")
    assert tables["Table 15"].rows[1][1:] == eleven[3][1:]


@pytest.mark.slow
def test_networks_that_normalise_by_image_are_evaluated_once(request_):
    plan = replace(PLAN, runs=1, normalise="image", precision="bf16", networks=("ours", "B"))
    record, _ = make(replace(request_, work=request_.work / "image", real={}), plan)
    assert "normalise each image by itself; convolutions in bf16" in record.summary[0]
    names = [row[0] for row in record.tables[0].rows]
    assert names[2:] == ["DeepFreak (configuration B)", "our network"]
    assert len(record.tables[0].remarks) == 3
    assert [row[0] for row in record.tables[-1].rows] == ["our network", "configuration B"]


@pytest.mark.slow
def test_the_curves_of_all_runs_are_kept_and_drawn(made):
    record, _ = made
    assert np.shape(record.facts["curves"]["configuration A"]["validation"]) == (2, 1)
    assert [figure.title.partition(":")[0] for figure in record.figures[:2]] == ["Fig. 3", "Fig. 4"]
    assert all("<svg" in figure.svg for figure in record.figures)


@pytest.mark.slow
def test_each_training_is_told_with_the_time_left(made):
    trainings = [line for line in made[1] if "validation" in line]
    assert len(trainings) == 3 * 2 + 3
    assert all("left" in line for line in trainings[:-1])


@pytest.mark.slow
def test_made_again_it_trains_nothing_and_says_the_same(made, request_):
    searches = {"synthetic": {"best": [BEST]}, "raw": {"best": [BEST]}}
    again, said = make(request_, searches=searches)
    assert again.tables == made[0].tables
    assert not any("left" in line for line in said)
    # all that was trained in time is there, however late it is
    late, _ = make(request_, replace(PLAN, time_limit_min=0), searches=searches)
    assert late.tables == made[0].tables
    more, _ = make(request_, replace(PLAN, time_limit_min=0, runs=3), searches=searches)
    assert "Runs before the time limit: A 2 of 3, B 2 of 3, C 2 of 3" in more.summary[1]
    assert more.tables == made[0].tables


@pytest.mark.slow
def test_trainings_on_other_images_are_not_taken_for_these(made, request_):
    with pytest.raises(OutputError, match="data.count"):
        make(request_, replace(PLAN, train=15))
