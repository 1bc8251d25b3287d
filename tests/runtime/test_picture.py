"""Pictures are drawn whatever a title or token holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from kmem.bench.picture import draw_shares
from kmem.errors import ConfigError
from kmem.kstore.bank import Bank
from kmem.profile import Profile
from kmem.runtime.inspect import KeptToken
from kmem.runtime.picture import draw_budget, draw_memory

NO_MATHEMATICS = r"From $5 to $\frac{"


def test_dollars_are_no_mathematics(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_budget(Profile(name=NO_MATHEMATICS, budget=((8, 8),)), tmp_path / "budget.png")
    memory_id = int(bank.ids[0])
    titled = replace(bank.chunk(memory_id), title=NO_MATHEMATICS)
    monkeypatch.setattr(bank, "chunk", lambda memory_id: titled)
    tokens = [KeptToken(text=r" $\frac{$", heads=1)] * int(bank.read([memory_id]).lengths[0])
    draw_memory(bank, memory_id, tokens, tmp_path / "memory.png")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["budget.png", "memory.png"]


def test_what_has_no_share_is_left_out(tmp_path: Path) -> None:
    figures = {
        "settings": {"profiles": {"profile_8": NO_MATHEMATICS}},
        "bytes_per_memory": {"dense": 4096, "profile_8": 512, f"profile_8_{NO_MATHEMATICS}": 512},
        "share_of_text_gain": {"dense": None, "profile_8": 0.5, f"profile_8_{NO_MATHEMATICS}": 0.25},
        "low95": {"dense": None, "profile_8": None, f"profile_8_{NO_MATHEMATICS}": 0.125},
    }
    draw_shares(figures, tmp_path / "share.png")
    with pytest.raises(ConfigError, match=r"share.jpg must end in .png"):
        draw_shares(figures, tmp_path / "share.jpg")
