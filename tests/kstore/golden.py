"""Make the golden bank: `python -m tests.kstore.golden`, by hand, and only for a new format version.

It writes tests/golden/bank-<version> and its answers beside it, and refuses when they are there.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from kmem.kstore.bank import open_bank
from kmem.kstore.manifest import FORMAT_VERSION
from tests.kstore.kit import NgramEmbedder, write_bank

GOLDEN = Path(__file__).parents[1] / "golden"
QUERY = "a hash table in the disk page"


def answers(path: Path) -> dict[str, Any]:
    """All that a bank has to say, as plain JSON values (float16 and float32 are exact in them)."""
    with open_bank(path, NgramEmbedder()) as bank:
        memories = bank.read(bank.ids.tolist())
        return {
            "ids": bank.ids.tolist(),
            "kv": memories.kv.float().tolist(),
            "slot_position": memories.slot_position.tolist(),
            "lengths": memories.lengths.tolist(),
            "bracket": bank.spec.bracket.tolist(),
            "identity": bank.identity.to_dict(),
            "budget": [list(row) for row in bank.budget],
            "references": [bank.chunk(memory_id).reference for memory_id in bank.ids.tolist()],
            "sources": [bank.chunk(memory_id).source for memory_id in bank.ids.tolist()],
            "hits": [hit.id for hit in bank.search(QUERY, k=5)],
        }


def bank_of(version: int) -> Path:
    """The golden bank of a format version; its answers are in the JSON file of the same name."""
    return GOLDEN / f"bank-{version}"


def main() -> int:
    """Write both, or say why not."""
    bank = bank_of(FORMAT_VERSION)
    expected = bank.with_suffix(".json")
    if bank.exists() or expected.exists():
        sys.stderr.write(f"{bank} or {expected} exists. Golden bytes are never rewritten; they belong to one format version.\n")
        return 2
    write_bank(bank)
    shutil.rmtree(bank / "build")
    expected.write_text(json.dumps(answers(bank)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
