"""A small bank written by a tiny model: twelve texts, real encoder, real store, real FAISS; only the text embedder is tiny."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from kmem.kstore.bank import Bank, open_bank
from tests.tiny import HashEmbedder, byte_tokenizer, tiny_model, write_tiny_bank

TEXTS = (
    "A hash table maps keys to values by hashing the key.",
    "A binary tree has at most two children a node.",
    "The quick brown fox jumps over the lazy dog.",
    "Water boils at one hundred degrees Celsius at sea level.",
    "Paris is the capital of France.",
    "The mitochondrion makes most of the cell's energy.",
    "A prime number has exactly two divisors.",
    "Short.",
    "The moon orbits the earth once a month or so.",
    "Rust is what iron becomes in wet air.",
    "A sonnet has fourteen lines.",
    "Chess is played on sixty-four squares.",
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model(dtype=torch.float32)


@pytest.fixture
def bank_path(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    return write_tiny_bank(tmp_path / "bank", model, tokenizer, TEXTS)


@pytest.fixture
def bank(bank_path: Path) -> Iterator[Bank]:
    with open_bank(bank_path, embedder=HashEmbedder()) as opened:
        yield opened
