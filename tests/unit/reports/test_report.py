import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from deepfreak.errors import OutputError
from deepfreak.models.evaluation import Evaluation
from deepfreak.reports.evaluation import write_evaluation_page
from deepfreak.reports.figures import Figure, draw_figure
from deepfreak.reports.palette import MISSING_RGB
from deepfreak.reports.pictures import picture, white_level
from deepfreak.reports.verdicts import GalleryItem, write_verdict_page
from tests.labelled import CLASSES, draw_images

PROBABILITIES = dict(zip(CLASSES, (0.05, 0.05, 0.1, 0.7, 0.1), strict=True))
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use"}


class Page(HTMLParser):
    """Counts the elements of a page and checks that they are closed."""

    def __init__(self, path):
        super().__init__()
        self.open, self.images, self.text, self.tags, self.links = [], [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                self.images.append(value)
            if name in {"src", "href", "xlink:href", "action", "data"}:
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def shown(count, **changes):
    images = draw_images(np.arange(count) % 5, seed=1, side=64)
    return [
        replace(
            GalleryItem(
                image=image, caption=f"shot {index}", label="good", probabilities=PROBABILITIES
            ),
            **changes,
        )
        for index, image in enumerate(images)
    ]


def pixels(uri):
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(5)
    truth = (np.arange(80) % 5).astype(np.uint8)
    probabilities = rng.dirichlet(np.full(5, 0.4), 80) + 0.6 * np.eye(5)[truth]
    return Evaluation(
        model="glcm+forest <b>",
        data="data.h5",
        classes=CLASSES,
        truth=truth,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
        seconds_per_image=0.0031,
    )


def test_a_page_is_complete_in_itself(tmp_path, evaluation):
    path = tmp_path / "page.html"
    write_evaluation_page(path, evaluation, images=draw_images(evaluation.truth, seed=2, side=64))
    page = Page(path)
    assert not page.open
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(link.startswith(("data:image/png", "#")) for link in page.links)
    assert not re.findall(r"url\((?!#)", page.source)
    assert "default-src 'none'" in page.source
    assert "prefers-color-scheme: dark" in page.source


def test_the_evaluation_page_shows_matrix_plots_and_both_kinds_of_verdicts(tmp_path, evaluation):
    path = tmp_path / "page.html"
    images = draw_images(evaluation.truth, seed=2, side=64)
    write_evaluation_page(path, evaluation, images=images, max_pictures=20)
    page = Page(path)
    wrong = evaluation.truth.size - evaluation.accuracy.hits
    assert wrong > 6
    assert len(page.images) == 20
    assert f"5 shown, {wrong - 5} more left out" in page.words
    assert f"15 shown, {evaluation.accuracy.hits - 15} more left out" in page.words
    assert page.source.count('<svg class="circles"') == 20
    assert page.tags.count("svg") == 20 + 2
    for count in evaluation.confusion.ravel():
        assert f">{count}</td>" in page.source
    assert "glcm+forest <b>" in page.words
    assert "b" not in page.tags


def test_a_perfect_evaluation_has_no_wrong_verdicts_to_show(tmp_path, evaluation):
    perfect = replace(evaluation, probabilities=np.eye(5)[evaluation.truth])
    path = tmp_path / "page.html"
    write_evaluation_page(path, perfect, images=draw_images(evaluation.truth, seed=2, side=32))
    assert "Wrong verdicts None." in Page(path).words


def test_names_are_escaped(tmp_path):
    path = tmp_path / "page.html"
    hostile = "<script>alert(1)</script>\"'&"
    write_verdict_page(
        path,
        title=hostile,
        verdicts=shown(2, caption=hostile, label=hostile, truth=hostile),
        details=[(hostile, hostile)],
    )
    page = Page(path)
    assert not page.open
    assert "script" not in page.tags
    # Title and heading, name and value of the fact, label and caption of two verdicts.
    assert page.words.count(hostile) == 2 + 2 + 2 * 2
    assert page.words.count("✓ right") == 2


def test_a_name_that_is_no_text_does_not_cost_the_page(tmp_path):
    path = tmp_path / "page.html"
    write_verdict_page(path, title="t", verdicts=shown(1, caption="run\udcff.cbf"))
    assert "run?.cbf" in Page(path).words


def test_pictures_are_bounded_and_the_rest_is_counted(tmp_path):
    path = tmp_path / "page.html"
    write_verdict_page(path, title="t", verdicts=iter(shown(9, truth="weak")), max_pictures=4)
    page = Page(path)
    assert len(page.images) == 4
    assert "4 shown, 5 more left out" in page.words
    assert "verdicts right 0 of 9 (0.0%)" in page.words


def test_a_page_without_verdicts_says_so(tmp_path):
    path = tmp_path / "page.html"
    write_verdict_page(path, title="t", verdicts=[])
    assert "images 0" in Page(path).words


def test_an_unknown_truth_is_neither_right_nor_wrong(tmp_path):
    path = tmp_path / "page.html"
    write_verdict_page(path, title="t", verdicts=shown(1))
    words = Page(path).words
    assert "right" not in words
    assert "✗" not in words


def test_right_and_wrong_verdicts_are_marked(tmp_path):
    path = tmp_path / "page.html"
    write_verdict_page(path, title="t", verdicts=[*shown(1, truth="good"), *shown(1, truth="weak")])
    words = Page(path).words
    assert "✓ right" in words
    assert "✗ is weak" in words


def test_an_existing_page_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="overwrite"):
        write_verdict_page(path, title="t", verdicts=shown(1))
    assert path.read_text() == "mine"
    write_verdict_page(path, title="t", verdicts=shown(1), overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


def test_figures_follow_the_colour_of_the_page():
    figure = draw_figure(lambda axes: axes.set_title("<i>"), title="a", caption="b")
    assert isinstance(figure, Figure)
    assert figure.svg.startswith("<svg")
    assert "currentColor" in figure.svg
    assert "#010203" not in figure.svg
    assert "<i>" not in figure.svg
    assert figure == draw_figure(lambda axes: axes.set_title("<i>"), title="a", caption="b")


def test_missing_pixels_have_a_colour_of_their_own():
    image = np.full((64, 64), 255, np.uint8)
    valid = np.ones(image.shape, np.bool_)
    valid[:, 10] = False
    rgb = pixels(picture(image, valid, white=100))
    assert (rgb[:, 10] == MISSING_RGB).all()
    assert (np.delete(rgb, 10, axis=1) == 255).all()


def test_shrinking_keeps_every_spot_and_hides_what_masked_pixels_hold():
    image = np.zeros((512, 1000), np.uint8)
    valid = np.ones(image.shape, np.bool_)
    image[101, 333] = 200
    image[300, 700], valid[300, 700] = 255, False
    rgb = pixels(picture(image, valid, white=200))
    assert rgb.shape == (128, 250, 3)
    assert np.argwhere(rgb[..., 0] == 255).tolist() == [[101 // 4, 333 // 4]]
    assert rgb[300 // 4, 700 // 4].tolist() == [0, 0, 0]


def test_dark_images_stay_dark_beside_bright_ones():
    dark, bright = np.full((32, 32), 3, np.uint8), np.full((32, 32), 150, np.uint8)
    white = white_level([dark, bright])
    assert white == 150
    assert pixels(picture(dark, None, white=white)).max() < 10
    assert white_level([dark]) > 20
    assert white_level([]) > 20
