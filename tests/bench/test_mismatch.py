"""What a bank tells a model whose weights have changed."""

from pathlib import Path

import pytest

from kmem.bench.mismatch import Readable, readable
from kmem.errors import MeasurementError
from kmem.kstore.bank import open_bank
from tests.tiny import byte_tokenizer, loud, tiny_model, write_tiny_bank

TEXTS = [f"Lake {number} lies north of hill {number * 7}, and is {number} miles long." for number in range(20)]


def test_a_bank_of_its_own_tells_a_model_all(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), byte_tokenizer()
    with open_bank(write_tiny_bank(tmp_path / "bank", model, tokenizer, TEXTS)) as bank:
        own = readable(model, tokenizer, bank)
        assert own.memories == 16
        assert own.stored == pytest.approx(own.own, rel=1e-5)
        assert own.nothing != pytest.approx(own.own, rel=1e-4)
        other = readable(loud(tiny_model(), seed=5), tokenizer, bank)
        assert other.stored != pytest.approx(other.own, rel=1e-3)


def test_the_share_is_of_what_its_own_memory_tells() -> None:
    found = Readable(memories=16, nothing=4.0, stored=2.0, own=1.5)
    assert found.share == pytest.approx(0.8)
    assert "16 of its memories tell this model: 80% of what it would write itself" in str(found)
    assert Readable(memories=1, nothing=1.0, stored=2.0, own=1.5).share is None


def test_references_too_short_to_begin(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), byte_tokenizer()
    with (
        open_bank(write_tiny_bank(tmp_path / "bank", model, tokenizer, ["Fox", "Iron"])) as bank,
        pytest.raises(MeasurementError, match="more than 8 tokens"),
    ):
        readable(model, tokenizer, bank)
