"""Real corpora in four formats, by one command: nothing that came in is lost unsaid."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kmem
from kmem.kbuild.corpora import fetch_corpus
from kmem.kbuild.packages import debian
from kmem.kbuild.readers.dictd import entries

PYTHON = "python3.11-doc/usr/share/doc/python3.11/html"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="FOLDOC and Python's documents are Debian packages; there is no apt-get"),
]


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[list[str], dict[str, int]]:
    """A dictionary, HTML, packed JSON lines and Parquet → what to name, and how many records each holds."""
    with debian("python3.11-doc") as packages:
        for part in ("library", "tutorial"):
            shutil.copytree(packages / PYTHON / part, tmp_path / "python" / part)
    pages = list((tmp_path / "python").rglob("*.html"))
    vital = fetch_corpus("vital-articles").read_bytes()
    (tmp_path / "vital.jsonl.gz").write_bytes(gzip.compress(vital, 1))
    laws = [json.loads(line) for line in fetch_corpus("chinese-law").read_text(encoding="utf-8").splitlines()]
    pq.write_table(pa.Table.from_pylist(laws), tmp_path / "law.parquet")
    records = {
        "corpus:foldoc": sum(1 for _ in entries(str(fetch_corpus("foldoc")))),
        str(tmp_path / "python" / "**" / "*.html"): len(pages),
        str(tmp_path / "vital.jsonl.gz"): len(vital.splitlines()),
        str(tmp_path / "law.parquet"): len(laws),
    }
    return list(records), records


def test_all_in_one_command(mixed: tuple[list[str], dict[str, int]], tmp_path: Path) -> None:
    sources, records = mixed
    out = tmp_path / "bank"
    command = [sys.executable, "-m", "kmem", "build", *sources, "--out", str(out), "--no-encode", "--embedder", "bm25", "--workers", "2"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=os.environ)
    stages = json.loads((out / "build" / "stats.json").read_text())["stages"]
    for stage in stages.values():
        assert stage["in"] == stage["kept"] + sum(stage["dropped"].values()) + sum(stage["rejected"].values())
    assert stages["read"]["in"] == sum(records.values())
    for before, after in pairwise(("read", "deduplicate")):
        assert stages[before]["kept"] == stages[after]["in"]
    for before, after in pairwise(("chunk", "deduplicate-chunks", "cut", "encode", "embed")):
        assert stages[before]["kept"] == stages[after]["in"]
    with kmem.open(out) as bank:
        assert len(bank) == stages["cut"]["kept"] > 30_000
        found = {source: 0 for source in ("foldoc", "/python/", "vital.jsonl.gz", "law.parquet")}
        for chunk in bank.chunks(bank.ids.tolist()):
            found[next(name for name in found if name in chunk.source)] += 1
        assert all(found.values())
