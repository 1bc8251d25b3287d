"""One tiny committed bank for all tests that only read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmem.kstore.bank import Bank, open_bank
from tests.kstore.kit import NgramEmbedder, write_bank


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five memories in shards of two, fp16."""
    path = tmp_path_factory.mktemp("banks") / "tiny"
    write_bank(path)
    return path


@pytest.fixture
def tiny_bank(tiny_path: Path) -> Iterator[Bank]:
    with open_bank(tiny_path, NgramEmbedder()) as bank:
        yield bank
