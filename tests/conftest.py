"""Before anything imports Triton: without a GPU its kernels are run by its interpreter, which must be chosen first."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests whose forked children have one thread: how many there are decides a sum's last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
