"""The GPU's kernels, run by numba's simulator on a CPU, give the same results."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import BackendError
from deepfreak.physics.gpu import Renderer, missing_on_this_machine
from deepfreak.physics.gpu.kernels import normal_pair, philox
from deepfreak.physics.recipe import load_recipe

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json
import numpy as np
from deepfreak.physics.exposure import scatter, simulate
from deepfreak.physics.gpu import Renderer
from tests.gpu.small import small_experiment, small_shots

experiment = small_experiment()
shots = small_shots(experiment)
renderer = Renderer(experiment)
photons = renderer.expected(shots)
images = renderer.images(shots)
alone = np.concatenate([renderer.images([shot]) for shot in shots[1:3]])
_, truth = renderer.expose(shots[0])
print(json.dumps({
    "ours": np.asarray(photons).tolist(),
    "cpu": [scatter(shot).tolist() for shot in shots],
    "images": np.asarray(images).tolist(),
    "cpu_images": [simulate(shot)[0].tolist() for shot in shots],
    "alone": alone.tolist(),
    "truth": truth.bragg_photons,
    "cpu_truth": simulate(shots[0])[1].bragg_photons,
}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """Return what the kernels gave in a process where numba simulates a GPU."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONWARNINGS": "ignore"}
    output = subprocess.check_output(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, text=True
    )
    answer = json.loads(output.splitlines()[-1])
    return {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in answer.items()
    }


def test_expected_photons_are_the_cpus(found: dict) -> None:
    ours, cpu = found["ours"], found["cpu"]
    assert cpu[0].max() > 0
    assert not ours[3].any()
    for image, reference in zip(ours[:3], cpu[:3], strict=True):
        assert image.sum() == pytest.approx(reference.sum(), rel=1e-6)
        matter = reference > 1e-6 * reference.max()
        np.testing.assert_allclose(image[matter], reference[matter], rtol=1e-5)


def test_truth_is_the_cpus(found: dict) -> None:
    assert found["truth"] == pytest.approx(found["cpu_truth"], rel=1e-4)


def test_noise_has_the_cpus_statistics_but_its_own_deviates(found: dict) -> None:
    ours, cpu = found["images"], found["cpu_images"]
    for image, reference in zip(ours[:3], cpu[:3], strict=True):
        # 576 pixels with a noise of half a level
        assert image.mean() == pytest.approx(reference.mean(), abs=0.2)
        assert (image != reference).any()
        # dead pixels and the beamstop are at the same places
        assert ((image == 0) == (reference == 0)).all()
    assert ours[3].mean() == pytest.approx(cpu[3].mean(), abs=0.2)


def test_an_image_does_not_depend_on_its_batch(found: dict) -> None:
    np.testing.assert_array_equal(found["alone"], found["images"][1:3])


def test_philox_gives_its_known_answers() -> None:
    # Random123's known answers for philox4x32-10
    first, second = philox(np.uint64(0), np.uint64(0))
    assert [hex(first), hex(second)] == ["0xe169c58d6627e8d5", "0x9b00dbd8bc57ac4c"]


def test_deviates_are_normal() -> None:
    pairs = np.array([normal_pair(np.uint64(9), np.uint64(i)) for i in range(40_000)])
    assert abs(pairs.mean(axis=0)).max() < 0.02
    np.testing.assert_allclose(pairs.std(axis=0), 1, atol=0.02)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.02
    assert np.mean(np.abs(pairs) < 1) == pytest.approx(0.6827, abs=0.01)


@pytest.mark.skipif(missing_on_this_machine() is None, reason="this machine has a GPU")
def test_without_a_gpu_one_line_says_what_to_install() -> None:
    with pytest.raises(BackendError, match="the GPU backend needs") as caught:
        Renderer(load_recipe("diffranet"))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    find_spec("numba_cuda") is None or find_spec("cuda") is None,
    reason="compiling the kernels needs numba-cuda and NVIDIA's compiler libraries",
)
def test_kernels_compile_for_hopper() -> None:
    subprocess.check_call([sys.executable, "-m", "tests.gpu.compile"], cwd=ROOT)
