"""Peaks drawn over the pictures of a page."""

import re

import numpy as np

from deepfreak.features.peaks import find_peaks
from deepfreak.reports.pictures import MAX_CIRCLES, circles
from deepfreak.reports.verdicts import GalleryItem, write_verdict_page


def spotted(shape, places, level=60):
    rng = np.random.default_rng(2)
    image = np.sqrt(rng.poisson(200, shape)).astype(np.uint8)
    for slow, fast in places:
        image[slow - 1 : slow + 2, fast] = image[slow, fast - 1 : fast + 2] = level // 2
        image[slow, fast] = level
    return image


def middles(path):
    """Return the circles' (slow, fast) in the picture; a circle begins at its left end."""
    found = re.findall(r"M([-\d.]+) ([-\d.]+)a([\d.]+) ", path)
    return np.array([(float(y), float(x) + float(r)) for x, y, r in found])


def test_circles_stand_where_the_peaks_are():
    places = [(40, 300), (400, 30), (500, 600)]
    drawn = circles(spotted((520, 700), places), None)
    # 3 pixels along each side become one of the picture
    assert drawn.size == (234, 174)
    wanted = (np.array(places) + 0.5) / 3
    distance = np.linalg.norm(wanted[:, None] - middles(drawn.path)[None], axis=2)
    assert (distance.min(axis=1) < 0.3).all()
    assert drawn.caption == "3 peaks over 5 sigma"


def test_the_highest_peaks_are_circled_and_all_are_counted():
    places = [(slow, fast) for slow in range(10, 500, 20) for fast in range(10, 500, 20)]
    image = spotted((512, 512), places)
    drawn = circles(image, None)
    count = len(find_peaks(image))
    assert count > MAX_CIRCLES == len(middles(drawn.path))
    assert drawn.caption == f"{count} peaks over 5 sigma, the 200 highest circled"


def test_a_picture_without_peaks_says_so():
    assert circles(spotted((300, 300), []), None).caption == "no peak over 5 sigma"
    assert circles(spotted((300, 300), [(50, 60)]), None).caption == "1 peak over 5 sigma"


def test_a_picture_without_valid_pixels_has_no_circles():
    assert circles(spotted((64, 64), []), np.zeros((64, 64), np.bool_)) is None


def test_the_verdict_page_shows_circles_and_their_number(tmp_path):
    path = tmp_path / "page.html"
    shown = GalleryItem(
        image=spotted((512, 512), [(100, 200), (300, 50)]),
        caption="a shot",
        label="weak",
        probabilities={"weak": 1.0},
    )
    write_verdict_page(path, title="t", verdicts=[shown])
    html = path.read_text(encoding="utf-8")
    assert '<svg class="circles" viewBox="0 0 256 256"' in html
    assert '<p class="caption">2 peaks over 5 sigma</p>' in html
    assert len(middles(html)) == 2
