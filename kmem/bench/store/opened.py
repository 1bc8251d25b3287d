"""`python -m kmem.bench.store.opened BANK ID`: what opening a bank and reading one memory takes, in a process that did nothing else."""

import json
import sys
import time
from pathlib import Path

from kmem.kstore.bank import open_bank

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def measure_open(bank_path: str, memory_id: int) -> dict[str, float]:
    """`open_s`, and `open_rss_bytes`: the highest resident memory from then on, less what the interpreter and its imports had before."""
    CLEAR.write_text(RESET_PEAK)
    before = _status_bytes("VmRSS")
    start = time.perf_counter()
    with open_bank(bank_path) as bank:
        bank.read([memory_id])
    seconds = time.perf_counter() - start
    return {"open_s": seconds, "open_rss_bytes": _status_bytes("VmHWM") - before}


def _status_bytes(field: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_open(sys.argv[1], int(sys.argv[2]))))
