"""Before anything imports torch or Triton: how many threads it has, and that its interpreter runs the kernels where there is no GPU."""

import os
import signal
from collections.abc import Iterator

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are as many as cores: more threads would only wait for one another

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")

settings.register_profile("kmem", deadline=None)  # a first call compiles or loads, and other work may hold the processor
settings.load_profile("kmem")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests whose forked children have one thread: how many there are decides a sum's last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def heeded_ctrl_c() -> Iterator[None]:
    """SIGINT as a terminal has it: whoever runs the tests in the background has it ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share them, the real model's tests come first: whoever had the longest of all last would be waited for."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("real") is None)
