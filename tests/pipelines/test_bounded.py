"""The memory of workers: no more for MEGABYTES of text, 160 unless $KMEM_BOUNDED_MB says otherwise (10000: issue 7), than for 40.

But for one: finding copies compares each text with all others, in one place, and keeps some bytes of each text
(`kmem.kbuild.dedup.config.TEXT_BYTES`). The worker to which that step falls may grow by as much a chunk, and no worker passes 4 GiB.
"""

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil  # type: ignore[import-untyped]
import pytest

from kmem.encoder.defaults import SMOLLM2
from kmem.kbuild.dedup.config import TEXT_BYTES
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig, ExecutorConfig

FEW_MEGABYTES, MEGABYTES = 40, int(os.environ.get("KMEM_BOUNDED_MB", "160"))
"""Partitions of 32 MiB cut either in two at least, so that a worker has a whole one."""
MOST_BYTES, MOST_MORE_BYTES = 4 << 30, 150 * 10**6
GROWTH = 1.5
"""Arrays that grow are copied."""
EVERY_S = 0.2
DOCUMENT_WORDS = 600


def write_synthetic(path: Path, size_bytes: int) -> int:
    """JSON lines of drawn words, one document in eight a copy of the one before → how many documents."""
    draw, written, documents = random.Random(0), 0, 0
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]
    with path.open("w", encoding="ascii") as file:
        while written < size_bytes:
            if documents % 8 != 7:
                words = draw.choices(vocabulary, k=DOCUMENT_WORDS)
                text = ". ".join(" ".join(words[at : at + 12]).capitalize() for at in range(0, DOCUMENT_WORDS, 12))
            written += file.write(f'{{"id": "{documents}", "text": "{text}."}}\n')
            documents += 1
    return documents


@contextmanager
def watched() -> Iterator[dict[int, int]]:
    """Peak bytes in memory of each worker process, by pid."""
    peaks: dict[int, int] = {}
    stop = Event()

    def watch() -> None:
        while not stop.wait(EVERY_S):
            for child in psutil.Process().children(recursive=True):
                try:
                    if "spawn_main" in " ".join(child.cmdline()):
                        peaks[child.pid] = max(peaks.get(child.pid, 0), child.memory_info().rss)
                except psutil.Error:
                    continue

    thread = Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def peaks_of(megabytes: int, folder: Path) -> tuple[list[int], int]:
    """Bytes in memory at most of each worker of a build of so much text, least first, and the build's chunks."""
    folder.mkdir()
    documents = write_synthetic(folder / "synthetic.jsonl", megabytes * 10**6)
    config = BuildConfig(model=SMOLLM2, embedder="null", encode=False)
    with watched() as peaks:
        report = build(folder / "synthetic.jsonl", out=folder / "bank", config=config, executor=ExecutorConfig(workers=2))
    said = [round(found / 10**6) for found in peaks.values()]
    logging.getLogger(__name__).info("%s MB, %s chunks: %s MB", megabytes, report.chunks, said)  # --log-cli-level=info shows it
    assert report.flow["documents"]["in"] == documents
    assert report.counts["dropped: exact duplicate"] == documents // 8
    assert report.chunks > megabytes * 1000
    assert len(peaks) >= 2
    return sorted(peaks.values()), report.chunks


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(0)
def test_a_worker_s_memory_is_bounded(tmp_path: Path) -> None:
    few, _ = peaks_of(FEW_MEGABYTES, tmp_path / f"{FEW_MEGABYTES}")
    (*others, comparing), chunks = peaks_of(MEGABYTES, tmp_path / f"{MEGABYTES}")
    assert comparing <= MOST_BYTES
    assert all(most - few[-1] < MOST_MORE_BYTES for most in others)
    assert comparing - few[-1] < MOST_MORE_BYTES + GROWTH * TEXT_BYTES * chunks
