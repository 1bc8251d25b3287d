"""Stages one by one: shards do not depend on partitions, nothing is lost unsaid, poison is set aside, statistics and status tell."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import kmem
from kmem.document import Chunk, Document
from kmem.encoder.encode import Encoder
from kmem.errors import AttachError, BankNotFoundError, BuildError, ConfigError, KmemError
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.language import LanguagesConfig
from kmem.kbuild.pieces import pieces
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.reading import Reading
from kmem.kbuild.rules.config import RulesConfig
from kmem.kstore.index.null import Null
from kmem.kstore.lock import locked
from kmem.kstore.place import LocalPlace
from kmem.kstore.writer import BankWriter
from kmem.memories import Memories
from kmem.pipelines.build import build
from kmem.pipelines.config import ExecutorConfig, QualityConfig
from kmem.pipelines.executors.local import InProcess
from kmem.pipelines.executors.protocol import Advance, Outcome
from kmem.pipelines.ledger import CAME, KEPT, Receipt, balance
from kmem.pipelines.partitions import gathered
from kmem.pipelines.run import Examine, Runner
from kmem.pipelines.stats import Stats
from kmem.pipelines.status import AT_WORK, FINISHED, STOPPED, status
from kmem.pipelines.steps.encode import EncodeStep, ShardTask
from kmem.pipelines.steps.read import ReadStep
from kmem.pipelines.tools import Tools
from kmem.progress import silent
from tests.pipelines.test_build import bank_bytes, config


def test_the_bank_does_not_depend_on_partitions(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    options = config(tiny_folder, embedder="bm25")
    build(corpus, out=tmp_path / "one", config=options)
    build(corpus, out=tmp_path / "many", config=options, executor=ExecutorConfig(partition_bytes=700))
    assert bank_bytes(tmp_path / "one") == bank_bytes(tmp_path / "many")
    left = {path.name for path in (tmp_path / "many" / "build").iterdir()}
    assert left == {"completions", "config.yaml", "executor.json", "lock", "shards", "stats.json", "stats.png", "writer.json"}
    stats = json.loads((tmp_path / "many" / "build" / "stats.json").read_text())
    for stage in stats["stages"].values():
        assert stage["in"] == stage["kept"] + sum(stage["dropped"].values()) + sum(stage["rejected"].values())
    assert stats["stages"]["read"]["in"] == 12
    assert stats["versions"]["torch"]


def test_a_build_goes_on_with_other_workers_and_partitions(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, killed = config(tiny_folder, embedder="bm25"), tmp_path / "killed"
    build(corpus, out=tmp_path / "whole", config=options)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BankWriter, "commit", stop)
        with pytest.raises(KeyboardInterrupt):
            build(corpus, out=killed, config=options, executor=ExecutorConfig(partition_bytes=700))
    report = build(corpus, out=killed, config=options, resume=True)
    assert report.shards_reused == report.shards
    assert bank_bytes(killed) == bank_bytes(tmp_path / "whole")


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_documents_are_cut_again_where_others_are_left(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build is stopped once its documents are cut, and the first of two copies changes: the second is now kept, and was never cut."""
    pages = tmp_path / "pages"
    pages.mkdir()
    text = "Iron rusts in wet air, and water boils at one hundred degrees. " * 4
    for name in ("0.txt", "1.txt"):
        (pages / name).write_text(text)
    options, where = config(tiny_folder, embedder="bm25", encode=False), ExecutorConfig(partition_bytes=len(text))
    with monkeypatch.context() as patch:
        patch.setattr("kmem.pipelines.text.cut_shards", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(pages, out=tmp_path / "bank", config=options, executor=where)
    (pages / "0.txt").write_text("A hash table maps keys to values.")
    build(pages, out=tmp_path / "bank", config=options, executor=where, resume=True)
    build(pages, out=tmp_path / "whole", config=options)
    assert bank_bytes(tmp_path / "bank") == bank_bytes(tmp_path / "whole")
    with kmem.open(tmp_path / "bank") as bank:
        assert bank.search("When does iron rust?", k=1)[0].source.endswith("1.txt")


def test_an_edit_of_the_same_length_is_noticed(tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = config(tiny_folder, embedder="bm25", encode=False)
    with monkeypatch.context() as patch:
        patch.setattr("kmem.pipelines.text.cut_shards", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(corpus, out=tmp_path / "bank", config=options)
    (corpus / "03.txt").write_text((corpus / "03.txt").read_text().replace("Iron", "Lead"))
    with pytest.raises(ConfigError, match="the text of the sources changed"):
        build(corpus, out=tmp_path / "bank", config=options, resume=True)


def test_a_limit_reads_little_and_changes_nothing(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"id": f"{number}", "text": f"Page {number} says that iron rusts. " * 8}) for number in range(1000)]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines))
    options = config(tiny_folder, embedder="bm25", encode=False, limit=9)
    few = build(tmp_path / "pages.jsonl", out=tmp_path / "few", config=options)
    monkeypatch.setattr("kmem.pipelines.partitions.LIMITED_BYTES", 1 << 30)
    every = build(tmp_path / "pages.jsonl", out=tmp_path / "every", config=options)
    assert (few.chunks, every.chunks, every.flow["documents"]["in"]) == (9, 9, 1000)
    assert few.flow["documents"]["in"] < 300
    assert bank_bytes(tmp_path / "few") == bank_bytes(tmp_path / "every")


def test_what_was_found_to_fail_is_not_tried_again(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, trying may end a worker again."""
    verdict, cut = ReadStep._verdict, Chunker._chunks

    def judging(step: ReadStep, document: Document, tools: Tools) -> str | None:
        if "page 7" in document.text:
            raise RuntimeError("poison")
        return verdict(step, document, tools)

    def cutting(chunker: Chunker, document: Document, counts: Counter[str]) -> Iterator[Chunk]:
        if "page 5" in document.text:
            raise LookupError("poison")
        return cut(chunker, document, counts)

    monkeypatch.setattr(ReadStep, "_verdict", judging)
    monkeypatch.setattr(Chunker, "_chunks", cutting)
    options = config(tiny_folder, embedder="bm25", encode=False)
    with monkeypatch.context() as patch:
        patch.setattr(BankWriter, "commit", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(corpus, out=tmp_path / "bank", config=options)
    monkeypatch.setattr(Examine, "__call__", stopped)
    report = build(corpus, out=tmp_path / "bank", config=options, resume=True)
    assert (report.counts["rejected: raised RuntimeError"], report.counts["rejected: raised LookupError"]) == (1, 1)
    assert report.shards_reused == report.shards


@pytest.mark.parametrize("moment", ["__call__", "_written"])
def test_a_chunk_without_a_vector_is_set_aside_whenever_the_build_is_stopped(
    moment: str, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, original = Null.embed, getattr(EncodeStep, moment)

    def embedding(retriever: Null, texts: Sequence[str], *arguments: Any, **named: Any) -> Any:
        if any("page 7" in text for text in texts):
            raise RuntimeError("poison")
        return embed(retriever, texts, *arguments, **named)

    def writing(step: EncodeStep, *arguments: Any) -> Any:
        if any(type(argument) is ShardTask and argument.aside for argument in arguments):
            raise KeyboardInterrupt
        return original(step, *arguments)

    options = config(tiny_folder, embedder="null", encode=False)
    monkeypatch.setattr(Null, "embed", embedding)
    gone = build(corpus, out=tmp_path / "whole", config=options).counts["rejected: raised RuntimeError"]
    with monkeypatch.context() as patch:  # the vectors are there, the shard is still the one from before
        patch.setattr(EncodeStep, moment, writing)
        with pytest.raises(KeyboardInterrupt):
            build(corpus, out=tmp_path / "bank", config=options)
    assert build(corpus, out=tmp_path / "bank", config=options, resume=True).counts["rejected: raised RuntimeError"] == gone > 0
    assert bank_bytes(tmp_path / "bank") == bank_bytes(tmp_path / "whole")


def test_a_chunk_that_can_not_be_encoded_is_set_aside(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Encoder.encode

    def encode(encoder: Encoder, references: Sequence[str], *arguments: Any, **named: Any) -> Memories:
        if any("page 7" in reference for reference in references):
            raise RuntimeError("poison")
        return original(encoder, references, *arguments, **named)

    options = config(tiny_folder, embedder="bm25")
    build(corpus, out=tmp_path / "whole", config=options)
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", encode)
        report = build(corpus, out=tmp_path / "bank", config=options)
    gone = report.counts["rejected: raised RuntimeError"]
    rejected = [json.loads(line) for line in (tmp_path / "bank" / "build" / "rejected.jsonl").read_text().splitlines()]
    assert gone == len(rejected) > 0
    assert all("page 7" in line["sample"] for line in rejected)
    assert status(LocalPlace(tmp_path / "bank")).rejected == {"raised RuntimeError": gone}
    with kmem.open(tmp_path / "bank") as bank, kmem.open(tmp_path / "whole") as whole:
        assert len(bank) == len(whole) - gone
        left = [chunk.id for chunk in whole.chunks(whole.ids.tolist()) if "page 7" not in chunk.text]
        assert bank.ids.tolist() == left
        assert bank.read(left).lengths.tolist() == whole.read(left).lengths.tolist()
    appended = kmem.append(tmp_path / "bank", corpus)  # the chunk is tried again, by what can encode it
    assert appended.chunks == gone


def test_status_of_a_build_stopped_before_its_index_with_one_chunk_set_aside(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, poison = Encoder.encode, list[str]()

    def encode(encoder: Encoder, references: Sequence[str], *arguments: Any, **named: Any) -> Memories:
        poison[:] = poison or references[:1]
        if poison[0] in references:
            raise RuntimeError("poison")
        return original(encoder, references, *arguments, **named)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Encoder, "encode", encode)
    monkeypatch.setattr(BankWriter, "write_index", stop)
    with pytest.raises(KeyboardInterrupt):
        build(corpus, out=tmp_path / "bank", config=config(tiny_folder, embedder="bm25"))
    (aside,) = (tmp_path / "bank" / "build" / "aside").glob("*.rejected.jsonl")
    assert len(aside.read_text().splitlines()) == 1
    found = status(LocalPlace(tmp_path / "bank"))
    assert (found.state, found.rejected) == (STOPPED, {"raised RuntimeError": 1})


def test_a_receipt_keeps_what_was_lost_of_files_that_gave_nothing_or_are_shared(tmp_path: Path) -> None:
    rows = {"first": '{"text": "a text of words"}', "bad": "no json", "mixed": 'no json\n{"text": "another text of words"}'}
    order = ("first", "bad", "mixed", "last")
    for number, name in enumerate(order):
        (tmp_path / f"{number}.jsonl").write_text(rows.get(name, rows["mixed"]) + "\n")
    (tmp_path / "site").mkdir()
    read = ReadConfig()
    (task,) = gathered(pieces([str(tmp_path / f"{number}.jsonl") for number in range(4)], read, Counter()))
    step = ReadStep(
        site=str(tmp_path / "site"),
        read=read,
        rules=RulesConfig(preset="none"),
        languages=LanguagesConfig(),
        dedup=DedupConfig(mode="none"),
    )
    facts = step(task, Tools()).facts
    assert list(facts["lost"]) == [str(tmp_path / "1.jsonl"), str(tmp_path / "3.jsonl")]
    assert facts["gave"] == [str(tmp_path / "0.jsonl"), str(tmp_path / "3.jsonl")]


def test_what_memory_is_too_little_for_is_set_aside(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that can't be read, and the documents and chunks that can't be judged, cut or encoded; each is tried again first."""
    opened, verdict, cut, original = Reading.open, ReadStep._verdict, Chunker._chunks, Encoder.encode
    tried = Counter[str]()

    def short_for(page: str, found: str) -> None:
        if page in found:
            tried[page] += 1
            np.empty(1 << 62, np.uint8)  # numpy's own kind of MemoryError

    def opening(reading: Reading) -> BinaryIO:
        short_for("03.txt", reading.name)
        return opened(reading)

    def judging(step: ReadStep, document: Document, tools: Tools) -> str | None:
        short_for("page 5", document.text)
        return verdict(step, document, tools)

    def cutting(chunker: Chunker, document: Document, counts: Counter[str]) -> Iterator[Chunk]:
        short_for("page 7", document.text)
        return cut(chunker, document, counts)

    def encode(encoder: Encoder, references: Sequence[str], *arguments: Any, **named: Any) -> Memories:
        short_for("iron rusts in wet air, says page 9", "\n".join(references).lower())
        return original(encoder, references, *arguments, **named)

    build(corpus, out=tmp_path / "whole", config=config(tiny_folder, embedder="bm25"))
    monkeypatch.setattr(Reading, "open", opening)
    monkeypatch.setattr(ReadStep, "_verdict", judging)
    monkeypatch.setattr(Chunker, "_chunks", cutting)
    monkeypatch.setattr(Encoder, "encode", encode)
    report = build(corpus, out=tmp_path / "bank", config=config(tiny_folder, embedder="bm25"))
    assert report.counts["rejected: raised MemoryError while it was read"] == 1
    assert report.counts["rejected: raised MemoryError"] > 2
    assert tried["03.txt"] > 1
    with kmem.open(tmp_path / "whole") as whole, kmem.open(tmp_path / "bank") as bank:
        pages = {"03.txt", "05.txt", "07.txt"}
        left = {chunk.id for chunk in whole.chunks(whole.ids.tolist()) if Path(chunk.source).name not in pages}
        gone = left - set(bank.ids.tolist())
        assert set(bank.ids.tolist()) < left
        assert all("page 9" in chunk.text for chunk in whole.chunks(list(gone)))


def test_a_barrier_that_memory_is_too_little_for_says_so(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("kmem.pipelines.steps.deduplicate.find_duplicates", short)
    with pytest.raises(BuildError, match="Stage deduplicate raised MemoryError, and no document is to blame; run it where there is more"):
        build(corpus, out=tmp_path / "bank", config=config(tiny_folder, embedder="bm25"))


def test_a_step_that_always_fails_ends_the_build(tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: Any, **__: Any) -> Memories:
        raise RuntimeError("poison")

    monkeypatch.setattr(Encoder, "encode", encode)
    with pytest.raises(BuildError, match="Stage encode fails on every document that it is given"):
        build(corpus, out=tmp_path / "bank", config=config(tiny_folder, embedder="bm25", shard_rows=12))
    found = status(LocalPlace(tmp_path / "bank"))
    assert found.state == STOPPED
    assert "--resume" in str(found.resume)
    assert found.stages["read"].tasks == 1


def test_status_of_a_build_at_work_and_of_a_finished_one(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    place = LocalPlace(tmp_path / "bank")
    with pytest.raises(BankNotFoundError, match="holds no build"):
        status(place)
    seen: list[str] = []
    build(
        corpus,
        out=tmp_path / "bank",
        config=config(tiny_folder, embedder="bm25", limit=4),
        progress=lambda stage, *_: seen.append(status(place).state) if stage == "encode" else None,
    )
    assert set(seen) == {AT_WORK}
    found = status(place)
    assert found.state == FINISHED
    counts = json.loads(place.read("build/stats.json"))["stages"]
    assert {name: (stage.done, stage.total) for name, stage in found.stages.items()} == {
        name: (n["in"], n["in"]) for name, n in counts.items()
    }
    assert list(found.stages)[:2] == ["read", "deduplicate"]
    with locked(place):
        assert status(place).writer


def test_status_of_a_build_that_encodes_nothing(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    place, seen = LocalPlace(tmp_path / "bank"), list[set[str]]()

    def look(stage: str, done: int, total: int) -> None:
        if stage == "index":
            seen.append(set(status(place).stages))

    options = config(tiny_folder, embedder="bm25", limit=4, encode=False)
    build(corpus, out=tmp_path / "bank", config=options, progress=look)
    for stages in (seen[0], set(status(place).stages)):
        assert "texts" in stages
        assert "encode" not in stages
    assert status(place).encode is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rules": RulesConfig.from_dict({"preset": "none", "min-words": 5000})}, r"Nothing to remember: .*dropped: min-words"),
        ({"languages": LanguagesConfig(keep=("english",))}, "Language 'english' is none that is ever told"),
        ({"quality": QualityConfig(scorer="nope")}, "there are general, or a folder that kmem quality train wrote"),
    ],
)
def test_a_build_of_nothing_says_why_and_leaves_no_folder(
    options: dict[str, Any], words: str, tiny_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(KmemError, match=words):
        build(corpus, out=tmp_path / "bank", config=config(tiny_folder, embedder="bm25", **options))
    assert not (tmp_path / "bank").exists()


@dataclass(frozen=True, kw_only=True)
class Counting:
    index: int
    numbers: tuple[int, ...]
    aside: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fragile:
    """Fails at numbers above nine."""

    stage = "fragile"

    def __call__(self, task: Counting, tools: Tools) -> Receipt:
        aside = dict(task.aside)
        for number, unit in enumerate(self.units(task, tools)):
            if number not in aside:
                self.alone(unit, task, tools)
        kept = len(task.numbers) - len(aside)
        rejected = Counter(f"rejected: {reason}" for reason in aside.values())
        return Receipt(index=task.index, counts={CAME: len(task.numbers), KEPT: kept, **rejected})

    def units(self, task: Counting, tools: Tools) -> Iterator[int]:
        return iter(task.numbers)

    def alone(self, unit: int, task: Counting, tools: Tools) -> None:
        if unit > 9:
            raise ValueError(unit)


def test_what_fails_is_found_one_by_one(tmp_path: Path) -> None:
    runner = Runner(place=LocalPlace(tmp_path), executor=InProcess(), progress=silent)
    tasks = [Counting(index=0, numbers=(1, 2, 3)), Counting(index=1, numbers=(4, 10, 5, 11, 6))]
    first, second = runner.run(Fragile(), tasks)
    assert dict(first.counts) == {CAME: 3, KEPT: 3}
    assert dict(second.counts) == {CAME: 5, KEPT: 3, "rejected: raised ValueError": 2}
    assert balance(second.counts) == 0
    assert not list(tmp_path.rglob("examined*/*"))
    with pytest.raises(BuildError, match="fails on every document"):
        runner.run(Fragile(), [Counting(index=0, numbers=(10,) * 12)])


class Forking:
    """Each task in a process of its own, which may be killed."""

    workers, attempts, apart, announcement = 1, 2, True, ""

    def map(self, work: Callable[[Any, Tools], Receipt], tasks: Sequence[Any], advance: Advance) -> Iterator[Outcome]:
        for task in tasks:
            reading, writing = os.pipe()
            if not (pid := os.fork()):
                try:
                    os.write(writing, json.dumps(work(task, Tools()).to_dict()).encode())
                finally:
                    os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as answer:
                said = answer.read()
            os.waitpid(pid, 0)
            died = Outcome(task=task, error=RuntimeError("killed"), died=True)
            yield Outcome(task=task, receipt=Receipt.from_dict(json.loads(said))) if said else died

    def close(self) -> None: ...


def test_what_ends_its_worker_is_found(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only document of a file where it is read, and one of another file where it is judged."""
    opened, verdict = Reading.open, ReadStep._verdict

    def opening(reading: Reading) -> BinaryIO:
        if reading.path.endswith("03.txt"):
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(reading)

    def judging(step: ReadStep, document: Document, tools: Tools) -> str | None:
        if "page 7" in document.text:
            os.kill(os.getpid(), signal.SIGKILL)
        return verdict(step, document, tools)

    monkeypatch.setattr(Reading, "open", opening)
    monkeypatch.setattr(ReadStep, "_verdict", judging)
    read = ReadConfig()
    (partition,) = gathered(pieces([str(corpus)], read, Counter()))
    off = DedupConfig(mode="none")
    step = ReadStep(site=str(tmp_path / "bank"), read=read, rules=RulesConfig(preset="none"), languages=LanguagesConfig(), dedup=off)
    (receipt,) = Runner(place=LocalPlace(tmp_path / "bank"), executor=Forking(), progress=silent).run(step, [partition])
    assert receipt.counts[KEPT] == 10
    assert receipt.counts["rejected: ended its worker"] == receipt.counts["rejected: ended its worker while it was read"] == 1
    lines = [json.loads(line) for line in (tmp_path / "bank/build/read/00000.rejected.jsonl").read_text().splitlines()]
    assert [Path(line["source"]).name for line in lines] == ["03.txt", "07.txt"]


def test_what_is_lost_without_a_reason_is_an_error() -> None:
    with pytest.raises(BuildError, match="Stage read lost 1 of 3 documents"):
        Stats().add("read", {CAME: 3, KEPT: 1, "dropped: empty": 1}, 0.0)


def test_a_stage_takes_from_its_first_task_s_beginning_to_its_last_one_s_end() -> None:
    stats, done = Stats(), {CAME: 1, KEPT: 1}
    receipts = [Receipt(index=at, counts=done, seconds=2.0, ended=ended, reused=at == 2) for at, ended in enumerate((103.0, 102.5, 9.0))]
    for receipt in receipts:
        stats.add("read", receipt.counts, receipt.seconds, receipt.span)
    stats.add("cut", done, 0.0)
    found = stats.to_dict()
    assert (found["read"]["worker_seconds"], found["read"]["wall_seconds"]) == (6.0, 2.5)
    assert found["cut"]["wall_seconds"] == 0.0


def test_what_a_stage_kept_must_reach_the_next() -> None:
    stats = Stats()
    stats.add("read", {CAME: 3, KEPT: 3}, 0.0)
    stats.add("chunk", {CAME: 7, KEPT: 7}, 0.0)
    stats.require_handed_on(3)
    with pytest.raises(BuildError, match="Stage read kept 3 documents, but stage chunk was given 2"):
        stats.require_handed_on(2)
    stats.add("cut", {CAME: 6, KEPT: 6}, 0.0)
    with pytest.raises(BuildError, match="Stage chunk kept 7 chunks, but stage cut was given 6"):
        stats.require_handed_on(3)


def test_a_bank_without_meaning_is_built_and_refused(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    """The null encoder: neither model runs, everything else does."""
    build(corpus, out=tmp_path / "bank", config=config(tiny_folder, embedder="null", encode=False))
    model, tokenizer = kmem.load_model(str(tiny_folder))
    with kmem.open(tmp_path / "bank") as bank:
        assert bank.manifest.index.dim == 8
        with pytest.raises(AttachError, match="--embedder null"):
            kmem.attach(model, bank, tokenizer=tokenizer)
