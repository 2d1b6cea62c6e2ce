"""What all tests share."""

import os
import signal
from pathlib import Path

import pytest

# Tests move our cache directory; compiled code stays in one place, without messages.
os.environ.setdefault(
    "NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("DEEPFREAK_COMPILING_SAID", "1")

SHARED = Path(__file__).parents[1].parent / "shared"

# `scripts/test --fast` leaves these out: they start programs, train models or simulate much.
LONG = (
    "cli/", "paper/", "test_fuzz.py", "gpu/", "physics/test_disorder.py", "physics/test_oracles.py",
    "live/test_page.py", "live/test_sessions.py", "live/test_uploads.py", "live/test_watch.py",
    "live/test_workers.py", "live/test_memory.py", "unit/test_compiled.py",
    "unit/test_embarrassments.py", "unit/networks/", "unit/models/test_runtime.py",
    "unit/models/test_screening_fit.py", "unit/models/test_onnx_model.py",
    "unit/formats/test_guarded.py", "unit/isolation/", "unit/search/test_classical.py",
    "unit/search/test_cnn.py", "unit/search/test_children.py", "unit/datasets/real_images/",
    "unit/datasets/test_dask.py", "unit/datasets/test_generating.py", "unit/storage/test_locks.py",
    "unit/datasets/randomised/test_tabulate.py",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `LONG`."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix().startswith(LONG):
            item.add_marker(pytest.mark.long)


# A shell's background jobs ignore Ctrl-C, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference material beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference material in ../shared, which is not in this clone")
    return SHARED
