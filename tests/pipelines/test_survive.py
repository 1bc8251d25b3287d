"""What a stopped build had stored: it is used as it lies, and whatever became of it meanwhile is made again or told."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kmem.encoder.encode import Encoder
from kmem.errors import KmemError
from kmem.kstore.writer import BankWriter
from kmem.pipelines import machine
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig
from tests.pipelines.test_build import bank_bytes, config

LOCK = "build/lock"


@pytest.fixture
def options(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> BuildConfig:
    """The model is loaded once: loading is what takes time."""
    options = config(tiny_folder, limit=3, shard_rows=1, embedder="bm25")
    encoder = machine.load_encoder(options)
    monkeypatch.setattr(machine, "load_encoder", lambda config: encoder)
    return options


def stopped(out: Path, corpus: Path, options: BuildConfig, what: type, method: str, *, when: Callable[[int], bool]) -> None:
    """A build that was interrupted the moment that `method` was called for the n-th time, `when` of n."""
    original, calls = getattr(what, method), [0]

    def step(*arguments: object, **named: object) -> object:
        calls[0] += 1
        if when(calls[0]):
            raise KeyboardInterrupt
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what, method, step)
        with pytest.raises(KeyboardInterrupt):
            build(corpus, out=out, config=options)


def files_of(out: Path) -> list[str]:
    return sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())


def test_what_is_stored_is_not_written_again(options: BuildConfig, corpus: Path, tmp_path: Path) -> None:
    """Nor encoded: the very files stay, and no file is there twice under another name."""
    out = tmp_path / "bank"
    build(corpus, out=tmp_path / "whole", config=options)
    stopped(out, corpus, options, Encoder, "encode", when=lambda call: call == 3)
    before = {file: (out / file).stat() for file in files_of(out) if file.startswith(("memories.zarr/", "build/shards/"))}
    assert len([file for file in before if file.startswith("build/shards/")]) == 2
    encoded: list[int] = []
    original = Encoder.encode

    def counting(encoder: Encoder, references: list[str], *arguments: object, **named: object) -> object:
        encoded.append(len(references))
        return original(encoder, references, *arguments, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "encode", counting)
        report = build(corpus, out=out, config=options, resume=True)
    assert (report.shards, report.shards_reused, encoded) == (3, 2, [1])
    for file, stat in before.items():
        now = (out / file).stat()
        assert (now.st_ino, now.st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns), file
    assert bank_bytes(out) == bank_bytes(tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")


def test_a_flipped_bit_in_any_file_of_a_stopped_build(options: BuildConfig, corpus: Path, tmp_path: Path) -> None:
    """One of each kind, in its middle: the build that goes on makes it again or says what is wrong; it never ends with another bank."""
    out, damaged = tmp_path / "bank", tmp_path / "damaged"
    build(corpus, out=tmp_path / "whole", config=options)
    whole = bank_bytes(tmp_path / "whole")
    stopped(out, corpus, options, BankWriter, "commit", when=lambda call: True)
    mended, told = set[str](), dict[str, str]()
    kinds = {re.sub(r"\d+", "", file): file for file in files_of(out) if file != LOCK and (out / file).stat().st_size}
    assert len(kinds) > 20
    for file in kinds.values():  # the last one of each kind
        shutil.copytree(out, damaged)
        raw = bytearray((damaged / file).read_bytes())
        raw[len(raw) // 2] ^= 4
        (damaged / file).write_bytes(raw)
        try:
            build(corpus, out=damaged, config=options, resume=True)
        except KmemError as error:
            told[file] = str(error)
        else:
            assert bank_bytes(damaged) == whole, file
            mended.add(file)
        shutil.rmtree(damaged)
    assert all(file.startswith("build/") and file.endswith(".json") for file in told), told
    for said in told.values():  # a bit of a name makes it another setting
        assert "\n" not in said
        assert "damaged" in said or "resume with the same options" in said
    assert {file for file in mended if file.startswith("memories.zarr/g0000/kv/c")}
    assert {file for file in mended if file.startswith("build/shards/")}
