"""What all tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference material beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference material in ../shared, which is not in this clone")
    return SHARED
