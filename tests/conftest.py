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


# A shell's background jobs ignore Ctrl-C, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference material beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference material in ../shared, which is not in this clone")
    return SHARED
