import pytest


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Small networks are faster on one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
