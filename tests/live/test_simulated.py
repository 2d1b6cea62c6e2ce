import json
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.live.messages import Arrival, SeriesBegan, SeriesEnded
from deepfreak.live.receive.simulated import SimulatedFrame, SimulatedSource, decoder, series_of
from deepfreak.physics.exposure import has_ice, simulate
from deepfreak.physics.recipe import load_recipe
from deepfreak.physics.scattering.ice import Ice
from deepfreak.preparation import prepare


@pytest.fixture(scope="module")
def experiment():
    ice = Ice(thickness_mm=0.001, grain_size_mm=0.001, probability=0.5)
    return replace(load_recipe("diffranet"), background=(ice,))


@pytest.fixture(scope="module")
def events(experiment):
    return [event for event in SimulatedSource(experiment, seed=7, count=4).events() if event]


def test_a_series_begins_its_shots_come_in_order_and_it_ends(events, experiment):
    began, *arrivals, ended = events
    assert isinstance(began, SeriesBegan)
    assert began.kind == "shot"
    assert began.expected == 4
    json.dumps(dict(began.metadata))
    assert [arrival.number for arrival in arrivals] == [0, 1, 2, 3]
    assert ended == SeriesEnded(series=began.series, expected=4)
    for arrival in arrivals:
        shot = experiment.draw(seed=7, index=arrival.number)
        assert arrival.truth == {"label": shot.class_name, "ice": has_ice(shot)}
        assert arrival.sent <= arrival.received <= time.time()


def test_the_prepared_frame_is_the_image_of_the_data_set(events, experiment):
    began, *arrivals, _ = events
    decode = decoder(began.context, series=began.series)
    for arrival in arrivals:
        shot = experiment.draw(seed=7, index=arrival.number)
        image, _ = simulate(shot)
        frame = decode(memoryview(arrival.payload), arrival.number)
        np.testing.assert_array_equal(prepare(frame).image, image)
        assert frame.wavelength_A == shot.wavelength_A


def test_the_frame_knows_its_detector(events):
    frame = decoder(events[0].context, series="s")(events[1].payload, 0)
    assert (frame.file, frame.index, frame.simulated) == ("s", 0, True)
    assert (frame.pedestal, frame.gain, frame.saturation) == (10.0, 1.0, 65025.0)
    assert (frame.pixel_size_mm, frame.distance_mm) == (0.172, 80.0)
    assert frame.beam_center_px == pytest.approx((256, 256))
    assert frame.counts.dtype == np.uint16
    assert frame.valid.all()


def test_gaps_of_the_detector_measured_nothing():
    experiment = load_recipe("serial_synchrotron")
    events = SimulatedSource(experiment, seed=1, count=0).events()
    began = next(event for event in events if isinstance(event, SeriesBegan))
    valid = decoder(began.context, series="s").args[0].valid
    assert valid.shape == (1043, 981)
    assert not valid[195:212].any()
    assert valid.mean() == pytest.approx(10 * 195 * 487 / (1043 * 981), abs=1e-3)


def test_where_shots_are_made_does_not_matter(events, experiment):
    with ThreadPoolExecutor(2) as executor:
        beam = SimulatedSource(experiment, seed=7, first=1, count=2, executor=executor)
        again = [event for event in beam.events() if isinstance(event, Arrival)]
    assert [one.number for one in again] == [1, 2]
    assert [one.payload for one in again] == [one.payload for one in events[2:4]]


def test_an_endless_beam_gives_signs_of_life_and_can_be_closed(experiment):
    beam = SimulatedSource(experiment, seed=7, rate_hz=0.01).events()
    seen = []
    last = time.monotonic()
    for event in beam:
        now = time.monotonic()
        seen.append((event, now - last))
        last = now
        if sum(isinstance(event, Arrival) for event, _ in seen) == 1 and len(seen) > 12:
            break
    beam.close()
    silent = [took for event, took in seen if event is None]
    assert len(silent) > 5
    assert sorted(silent)[len(silent) // 2] < 0.1


def test_the_rate_is_kept_where_shots_can_be_made_so_fast(experiment):
    class Instant(Executor):
        def submit(self, *_):
            done = Future()
            done.set_result(SimulatedFrame(payload=b"", label="blank", ice=False))
            return done

    beam = SimulatedSource(experiment, seed=1, rate_hz=20, count=11, executor=Instant())
    times = [time.monotonic() for event in beam.events() if isinstance(event, Arrival)]
    assert times[-1] - times[0] >= 0.45


def test_another_recipe_or_seed_is_another_series(experiment):
    other = replace(experiment, beam=replace(experiment.beam, wavelength_A=1.3))
    names = {
        series_of(experiment, seed=1),
        series_of(experiment, seed=2),
        series_of(other, seed=1),
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: payload[:-1],
        lambda payload: payload + b"\0",
        lambda _: b"",
        lambda payload: b"X" + payload[1:],
        lambda payload: payload[:8] + b"\xff" * 8 + payload[16:],
        lambda payload: payload[:16] + b"\xff" * 8 + payload[24:],
    ],
)
def test_a_payload_of_something_else_is_refused_in_one_line(events, change):
    decode = decoder(events[0].context, series="s")
    with pytest.raises(FrameError, match="expected") as error:
        decode(change(events[1].payload), 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": [512]},
        {"image_size": [-1, 512]},
        {"image_size": [1 << 30, 1 << 30]},
        {"image_size": [256, 512]},
        {"beam_center_px": None},
        {"pedestal": "ten"},
        {"distance_mm": float("nan")},
        {"measuring": "%%%"},
        {"measuring": "AAAA"},
        {"measuring": None},
    ],
)
def test_a_context_that_makes_no_sense_is_refused(events, change):
    table = json.loads(events[0].context) | change
    with pytest.raises(FrameError, match="expected"):
        decoder(json.dumps(table).encode(), series="s")


@pytest.mark.parametrize("context", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_context_that_is_none_is_refused(context):
    with pytest.raises(FrameError, match="context of simulated shots"):
        decoder(context, series="s")
