"""Ctrl-C, or SIGTERM, to a process in the middle of a pipeline: what is kept is said, and going on finishes."""

import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from kmem.cli.main import main
from tests.faults import bank_files, interrupted

OPTIONS = ("--profile", "uniform8", "--embedder", "bm25", "--batch-size", "1", "--dtype", "float32")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def kmem(*arguments: object) -> None:
    """Run the command in this process; it must succeed unless it is interrupted."""
    sys.argv = ["kmem", *map(str, arguments)]
    try:
        main()
    except SystemExit as error:
        if error.code:
            raise


@pytest.mark.parametrize(("by", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build(tmp_path: Path, corpus: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, by: int, exit_code: int) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    out, whole = tmp_path / "bank", tmp_path / "whole"
    options = ("--model", tiny_folder, *OPTIONS, "--shard-rows", 1)
    kmem("build", corpus, "--out", whole, *options)
    completions = out / "build" / "completions"

    def one_is_finished() -> bool:
        return completions.is_dir() and any(completions.iterdir())

    code = interrupted(partial(kmem, "build", corpus, "--out", out, *options), one_is_finished, tmp_path / "errors", by)
    said = (tmp_path / "errors").read_text()
    assert f"kmem: stopped; finished shards are kept in {out}; go on with: kmem build {corpus}" in said
    assert said.strip().endswith("--resume")
    assert code == exit_code
    kmem("build", corpus, "--out", out, *options, "--resume")
    assert bank_files(out) == bank_files(whole)


def test_encoding_what_is_missing(tmp_path: Path, corpus: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    banks = tmp_path / "stopped", tmp_path / "whole"
    for bank in banks:
        kmem("build", corpus, "--out", bank, "--model", tiny_folder, *OPTIONS, "--no-encode")
    kmem("encode", banks[1])
    before = set(bank_files(banks[0]))

    def some_are_encoded() -> bool:
        return len(set(bank_files(banks[0])) - before) > 1

    code = interrupted(partial(kmem, "encode", banks[0]), some_are_encoded, tmp_path / "errors")
    assert "kmem: stopped; " in (tmp_path / "errors").read_text()
    assert f"go on with: kmem encode {banks[0]}" in (tmp_path / "errors").read_text()
    assert code == 130
    assert bank_files(banks[0]) != bank_files(banks[1])
    kmem("encode", banks[0])
    assert bank_files(banks[0]) == bank_files(banks[1])
