"""`kmem status` of a build at work, of a dead one and of a finished one; and who comes second is refused."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kmem.encoder.encode import Encoder
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig
from tests.cli.conftest import Run
from tests.faults import bank_files, child


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for page in range(4):
        (tmp_path / "docs" / f"{page}.txt").write_text(f"Iron rusts in wet air, says page {page}. Water boils at {page} hundred degrees.")
    return tmp_path / "docs"


def within(seconds: float, seen: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_builds_into_one_folder(
    kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """The first, a process of its own, waits within its second shard; the second says who is at work, and touches nothing."""
    out = tmp_path / "bank"
    options = ("--model", tiny_folder, "--profile", "uniform8", "--dtype", "float32", "--shard-rows", 1, "--embedder", "bm25")
    config = BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", shard_rows=1, embedder="bm25")
    build(corpus, out=tmp_path / "whole", config=config)
    original, turns = Encoder.encode, list[int]()

    def stuck(*arguments: object, **named: object) -> object:
        turns.append(1)
        while len(turns) > 1:
            time.sleep(0.01)
        return original(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", stuck)
        pid, _ = child(lambda: build(corpus, out=out, config=config))
    try:
        within(120, lambda: (out / "build" / "completions" / "00000").exists())
        before = bank_files(out)
        for again in ((), ("--resume",)):
            refused = kmem("build", corpus, "--out", out, *options, *again)
            assert refused.code == 2
            assert refused.err.count("\n") == 1
            assert refused.out == ""
            assert f"Another build (pid {pid}) is writing to {out}; wait until it is done, or choose another place." in refused.err
        assert bank_files(out) == before
        shown = kmem("status", out)
        assert shown.code == 0
        assert f"{out}: at work (pid {pid})" in shown.out
        assert "To go on" not in shown.out
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    shown = kmem("status", out)
    assert f"{out}: stopped" in shown.out
    way_on = ("build", "--config", out / "build" / "config.yaml", "--resume")
    assert f"To go on, in the folder where it was begun: kmem {' '.join(map(str, way_on))}" in shown.out
    told = json.loads(kmem("status", out, "--json").out)
    assert (told["state"], told["stages"]["encode"]["tasks"], told["stages"]["encode"]["unit"]) == ("stopped", 1, "chunks")
    assert told["stages"]["read"]["unit"] == "bytes"

    assert kmem(*way_on).code == 0
    assert bank_files(out) == bank_files(tmp_path / "whole")
    told = json.loads(kmem("status", out, "--json").out)
    assert told["state"] == "finished"
    assert {name: stage["unit"] for name, stage in told["stages"].items()} | {"read": "documents", "encode": "chunks"} == {
        name: stage["unit"] for name, stage in told["stages"].items()
    }
    repeated = kmem("build", corpus, "--out", out, *options, "--resume")
    assert repeated.code == 0
    assert repeated.out.startswith("Nothing left to do, finished before:")
    rows = [line.split("│")[1].strip() for line in repeated.out.splitlines() if line.startswith("│")]
    assert rows.index("documents in") < rows.index("chunks in")


def test_status_of_nothing(kmem: Run, tmp_path: Path) -> None:
    refused = kmem("status", tmp_path)
    assert refused.code == 2
    assert f"{tmp_path} holds no build: begin one with kmem build --out." in refused.err
