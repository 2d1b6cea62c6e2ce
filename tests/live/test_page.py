"""The page as a browser shows it: a real Chromium, a real server, outcomes that keep coming."""

import base64
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from deepfreak.live.dashboard.app import make_app
from deepfreak.live.dashboard.security import Security
from deepfreak.live.dashboard.server import serve
from deepfreak.live.messages import RunCounts, SeriesBegan, Trouble
from deepfreak.live.statistics import Statistics
from tests.live.chromium import Chromium, find
from tests.live.frame_outcomes import CLASSES, outcome, picture, rows

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>/../etc'
TOKEN = "a-token-of-good-length"  # noqa: S105 - it opens nothing but this test


class Stream:
    """A run of 60 frames a second, a quarter of them hits, until it is stopped."""

    def __init__(self):
        self.statistics = Statistics(
            classes=CLASSES,
            metadata={"source": HOSTILE, "model": {"name": "made up"}, "policy": "keep p > 0.5"},
            raster=(20, 30),
            levels=(0.0, 100.0),
        )
        self.statistics.notice(SeriesBegan(series=HOSTILE, kind="file", expected=5000))
        self.statistics.count(RunCounts(duplicates=3, waiting=7, capacity=512, workers=2))
        self.label = None
        self._pictures = [picture(seed, 256) for seed in range(4)]
        self._stopped = threading.Event()
        self._number = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self._stopped.set()
        self._thread.join()

    def _run(self):
        while not self._stopped.wait(0.1):
            now = time.time()
            made = []
            for i in range(6):
                hit = self._number % 4 == 0
                label = self.label or ("good" if hit else "no-crystal")
                shown = self._pictures[self._number % 16 // 4] if hit else None
                made.append(
                    outcome(
                        self._number, now - 0.1 + i / 60, label=label, series=HOSTILE, picture=shown
                    )
                )
                self._number += 1
            self.statistics.add(rows(made))


def serving(stream, *, token=None, port=0):
    app = make_app(
        statistics=stream.statistics,
        metrics=lambda: (b"", "text/plain"),
        classify=None,
        security=Security(token=token),
    )
    return serve(app, host="127.0.0.1", port=port)


@pytest.fixture(scope="module")
def stream():
    find()
    stream = Stream()
    yield stream
    stream.stop()


@pytest.fixture(scope="module")
def address(stream):
    handle = serving(stream, token=TOKEN)
    yield handle.address
    handle.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory, address):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    browser.prefer("light")
    browser.open(f"{address}/?token={TOKEN}")
    browser.wait_for("document.body.dataset.link === 'live'")
    browser.wait_for("document.querySelectorAll('.hit img').length > 3")
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def quiet(browser, address):
    """In all tests the console stays empty and the page requests nothing from other hosts."""
    yield
    assert browser.console == []
    assert browser.failures == []
    elsewhere = [
        each for each in browser.requests if not each.startswith((address + "/", "about:"))
    ]
    assert elsewhere == []


def text(browser, selector):
    return browser.evaluate(f"document.querySelector({selector!r}).textContent")


def colour(browser, selector, what="backgroundColor"):
    return browser.evaluate(f"getComputedStyle(document.querySelector({selector!r})).{what}")


def test_the_token_has_left_the_address(browser, address):
    assert browser.evaluate("location.href") == f"{address}/"


def test_the_numbers_of_the_run_are_shown_with_units(browser):
    browser.wait_for(
        "Math.abs(parseFloat(document.getElementById('hit-rate').textContent) - 25) < 3"
    )
    assert text(browser, "#figure").endswith("%")
    assert "frames" in text(browser, "#hit-rate-said")
    browser.wait_for("parseFloat(document.getElementById('rate').textContent) > 5")
    assert 8 < float(text(browser, "#p50")) < 16
    assert text(browser, "#p99").endswith("ms, from received to verdict")
    assert text(browser, "#waiting") == "7"
    assert text(browser, "#capacity") == "of 512 (1 %), 2 workers"
    assert text(browser, "#missed") == "missed 0, doubled 3"
    assert "%" in browser.evaluate("document.title")


def test_the_numbers_move(browser):
    before = text(browser, "#frames")
    browser.wait_for(f"document.getElementById('frames').textContent !== {before!r}")


def test_names_with_markup_are_text(browser):
    assert text(browser, "#facts dd") == HOSTILE
    assert text(browser, "#series th") == HOSTILE
    assert browser.evaluate("document.querySelectorAll('[onerror], body script').length") == 0
    assert browser.evaluate("document.querySelector('.hit .where').title").startswith(HOSTILE)
    assert "DeepFreak" in browser.evaluate("document.title")


def test_charts_and_maps_are_drawn(browser):
    browser.wait_for("document.querySelectorAll('[data-chart=classes] path.class').length >= 5")
    for chart in ("hit-rate", "rate", "latency"):
        browser.wait_for(f"document.querySelector('[data-chart={chart}] :is(.line, circle.dot)')")
    for figure in ("map", "raster"):
        colours = browser.evaluate(
            f"""(() => {{
              const canvas = document.querySelector('#{figure} canvas');
              const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              return new Set(new Uint32Array(data.data.buffer)).size;
            }})()"""
        )
        assert colours > 1
    legend = browser.evaluate("document.getElementById('class-legend').innerText").split()
    assert [name for name in legend if name in CLASSES] == list(reversed(CLASSES))


def test_hits_are_shown_with_their_peaks_circled(browser):
    browser.wait_for(
        "[...document.querySelectorAll('.hit .picture > img')]"
        ".every((each) => each.complete && each.naturalWidth > 0)"
    )
    browser.wait_for("document.querySelectorAll('.hit .circles circle').length >= 12")
    assert colour(browser, ".hit .circles", "opacity") == "1"
    browser.evaluate("document.querySelector('[data-overlay=activation]').click()")
    browser.wait_for("getComputedStyle(document.querySelector('.hit .activation')).opacity === '1'")
    browser.evaluate("document.querySelector('[data-overlay=peaks]').click()")


def test_the_essentials_are_on_a_laptops_screen(browser):
    for selector in ("#hero", ".alarms", ".tiles", ".chart", ".gallery", "#map", "#raster"):
        bottom = browser.evaluate(
            f"document.querySelector({selector!r}).getBoundingClientRect().bottom"
        )
        assert 0 < bottom <= 800
    height = browser.evaluate(
        "parseFloat(getComputedStyle(document.getElementById('hit-rate')).fontSize)"
    )
    assert height > 100  # pixels: 3 cm on a laptop


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_nothing_is_wider_than_the_page(browser, width):
    browser.resize(width, 844 if width < 600 else 800)
    browser.wait_for(f"innerWidth === {width}")
    wide = browser.evaluate("document.documentElement.scrollWidth")
    browser.resize(1280, 800)
    assert wide <= width


def test_light_and_dark_follow_the_system_or_the_button(browser):
    def lightness():
        shot = browser.call("Page.captureScreenshot", format="png")["data"]
        image = Image.open(io.BytesIO(base64.b64decode(shot))).convert("L")
        return float(np.median(np.asarray(image)))

    assert lightness() > 200
    browser.prefer("dark")
    assert lightness() < 60
    browser.evaluate("document.getElementById('theme').click()")
    assert text(browser, "#theme") == "Theme: light"
    assert lightness() > 200
    browser.prefer("light")
    browser.evaluate("document.getElementById('theme').click()")
    assert lightness() < 60
    browser.evaluate("document.getElementById('theme').click()")
    assert text(browser, "#theme") == "Theme: auto"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(browser, scheme):
    browser.prefer(scheme)
    pairs = [
        (colour(browser, ".tiles small", "color"), colour(browser, ".card")),
        (colour(browser, "h1", "color"), colour(browser, "body")),
        (colour(browser, ".hero h2", "color"), colour(browser, ".hero")),
        (colour(browser, ".read", "color"), colour(browser, ".card")),
    ]
    browser.prefer("light")
    for ink, paper in pairs:
        assert _contrast(ink, paper) >= 4.5  # WCAG 2, AA


def _contrast(*colours):
    def luminance(css):
        parts = [float(part) / 255 for part in css.split("(")[1].rstrip(")").split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_everything_drawn_has_a_name_for_those_who_cannot_see(browser):
    nameless = browser.evaluate(
        "[...document.querySelectorAll('[role=img], img, button, section')].filter((each) =>"
        " !each.getAttribute('aria-label') && !each.hasAttribute('aria-labelledby')"
        " && !each.hasAttribute('alt') && !each.textContent.trim()).length"
    )
    assert nameless == 0


def test_far_view_shows_the_answer_alone(browser):
    browser.evaluate("document.getElementById('far').click()")
    assert browser.evaluate("document.getElementById('hero').getBoundingClientRect().height") > 600
    assert colour(browser, ".gallery", "display") == "none"
    browser.evaluate("document.getElementById('far').click()")
    assert colour(browser, ".gallery", "display") != "none"


def test_an_alarm_changes_the_large_words_and_colour(browser, stream):
    browser.wait_for("document.body.dataset.severity === 'ok'")
    calm = colour(browser, "#hero")
    stream.statistics.notice(Trouble(message=f"expected CBOR, found {HOSTILE}"))
    browser.wait_for("document.body.dataset.severity === 'warning'")
    browser.wait_for(
        f"getComputedStyle(document.getElementById('hero')).backgroundColor !== {calm!r}"
    )
    assert text(browser, "#state") == "source trouble"
    assert HOSTILE in text(browser, "#alarms li p")
    assert text(browser, "#alarms time").startswith("for ")


def test_what_is_old_does_not_look_like_now(browser, address, stream, tmp_path):
    handle = serving(stream)
    another = Chromium(tmp_path / "chromium")
    try:
        another.open(handle.address)
        another.wait_for("document.body.dataset.link === 'live'")
        handle.stop()
        another.wait_for("document.body.dataset.severity === 'lost'")
        assert text(another, "#link").startswith("no connection, last heard")
        handle = serving(stream, port=handle.port)
        another.wait_for("document.body.dataset.link === 'live'")
        assert text(another, "#link") == "live"
    finally:
        another.close()
        handle.stop()
