"""Today's reader reads yesterday's bytes. The folders are never made by a test: where one is missing, this fails."""

import json
import shutil
from pathlib import Path

import pytest

from kmem.errors import MemoryNotEncodedError
from kmem.kstore.bank import open_bank
from kmem.kstore.fill import store_memories
from kmem.kstore.manifest import READABLE_VERSIONS
from kmem.kstore.verify import verify
from tests.kstore.golden import CODES, ENCODED_ROWS, GRAPH, KINDS, ON_DEMAND, answers, bank_of
from tests.kstore.kit import contents, tiny_chunks, tiny_memories, tiny_spec

BANKS = [*(bank_of(version) for version in READABLE_VERSIONS), bank_of(3, ON_DEMAND), *(bank_of(4, kind) for kind in KINDS if kind)]
ROWS = {ON_DEMAND: len(ENCODED_ROWS), CODES: 20, GRAPH: 20}
"""Memories that can be read; five in all others."""


@pytest.mark.parametrize("bank", BANKS, ids=lambda bank: bank.name)
def test_the_golden_bank_reads_as_it_did(bank: Path) -> None:
    assert bank.is_dir(), f"{bank} is missing; restore it from git (tests/golden/PROVENANCE.md)"
    assert answers(bank) == json.loads(bank.with_suffix(".json").read_text())


def test_all_formats_say_the_same() -> None:
    first, *others = (json.loads(bank_of(version).with_suffix(".json").read_text()) for version in READABLE_VERSIONS)
    assert all(other == first for other in others)


@pytest.mark.parametrize("bank", BANKS, ids=lambda bank: bank.name)
def test_the_golden_bank_is_whole(bank: Path) -> None:
    kind = "-".join(["", *bank.name.split("-")[2:]])
    assert verify(bank, deep=True)["memories_read"] == ROWS.get(kind, 5)


def test_what_the_golden_bank_lacks_is_named_and_can_be_added(tmp_path: Path) -> None:
    path = Path(shutil.copytree(bank_of(3, ON_DEMAND), tmp_path / "bank"))
    before = contents(path)
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
        with pytest.raises(MemoryNotEncodedError) as caught:
            bank.read(ids)
        assert caught.value.ids == (ids[0], ids[2])
        store_memories(bank, tiny_memories(tiny_spec(), tiny_chunks(5)))
        memories = bank.read(ids)
    assert before.items() <= contents(path).items()
    whole = json.loads(bank_of(3).with_suffix(".json").read_text())
    assert (memories.kv.tolist(), memories.slot_position.tolist()) == (whole["kv"], whole["slot_position"])
