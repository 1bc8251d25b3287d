"""A tiny model and a small corpus on disk, so that builds run through the same doors as real ones."""

from pathlib import Path

import pytest

from tests.tiny import save_tiny_model

SENTENCES = (
    "A hash table maps keys to values.",
    "The fox jumps over the dog.",
    "Water boils at one hundred degrees.",
    "Iron rusts in wet air.",
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve small text files, about 40 chunks of the byte tokenizer."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(12):
        text = " ".join(f"{sentence[:-1]}, says page {number}." for sentence in SENTENCES * 2)
        (folder / f"{number:02}.txt").write_text(text)
    return folder
