"""Make the golden banks that are not there: `python -m tests.kstore.golden`, by hand, and only for a new format version.

It writes tests/golden/bank-<version> and one more a kind (-on-demand, -codes, -graph), the answers of each beside it, and refuses when
all are there.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kmem.kstore.bank import open_bank
from kmem.kstore.fill import store_memories
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.manifest import FORMAT_VERSION
from tests.kstore.kit import NgramEmbedder, tiny_chunks, tiny_memories, tiny_spec, write_bank, write_cold_bank

GOLDEN = Path(__file__).parents[1] / "golden"
QUERY = "a hash table in the disk page"
ON_DEMAND = "-on-demand"
CODES = "-codes"
GRAPH = "-graph"
ENCODED_ROWS = (1, 3, 4)
"""Those of the golden bank on demand; the other two were never encoded."""


def answers(path: Path) -> dict[str, Any]:
    """All that a bank has to say, as plain JSON values (float16 and float32 are exact in them)."""
    with open_bank(path, NgramEmbedder()) as bank:
        encoded = bank.encoded(bank.ids.tolist())
        memories = bank.read(bank.ids[encoded].tolist())
        missing = {} if encoded.all() else {"encoded": encoded.tolist()}
        return missing | {
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


def bank_of(version: int, kind: str = "") -> Path:
    """The golden bank of a format version, and of a kind (of KINDS); its answers are in the JSON file of the same name."""
    return GOLDEN / f"bank-{version}{kind}"


def write_partly(path: Path) -> None:
    """A bank of five memories on demand, of which ENCODED_ROWS are encoded."""
    write_cold_bank(path)
    with open_bank(path) as bank:
        store_memories(bank, tiny_memories(tiny_spec(), tiny_chunks(5)).take(ENCODED_ROWS))


def write_codes(path: Path) -> None:
    """A bank whose index holds codes, with the vectors in a file beside it."""
    write_bank(path, count=20, rows_per_shard=8, index=IndexConfig(factory="IVF2,PQ4x4,RFlat"))


def write_graph(path: Path) -> None:
    """A bank whose index is a graph."""
    write_bank(path, count=20, rows_per_shard=8, index=IndexConfig(factory="HNSW4"))


KINDS: dict[str, Callable[[Path], object]] = {"": write_bank, ON_DEMAND: write_partly, CODES: write_codes, GRAPH: write_graph}


def main() -> int:
    """Write what is not there, or say why not."""
    banks = {bank_of(FORMAT_VERSION, kind): write for kind, write in KINDS.items()}
    absent = {bank: write for bank, write in banks.items() if not bank.exists() and not bank.with_suffix(".json").exists()}
    for bank, write in absent.items():
        write(bank)
        shutil.rmtree(bank / "build")
        bank.with_suffix(".json").write_text(json.dumps(answers(bank)) + "\n")
    if not absent:
        sys.stderr.write(f"All banks of format {FORMAT_VERSION} exist. Golden bytes are never rewritten.\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
