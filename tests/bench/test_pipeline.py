"""The benchmark of the pipeline on a few texts: every figure is there, and copies are what they are said to be."""

import json
import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from kmem.bench.pipeline import growth
from kmem.bench.pipeline.builds import Built
from kmem.bench.pipeline.config import EDITED, PipelineConfig
from kmem.bench.pipeline.found import measure_found
from kmem.bench.pipeline.growth import endless
from kmem.bench.pipeline.measure import measure_pipeline
from kmem.bench.pipeline.plants import edited, plant, reordered
from kmem.bench.pipeline.stages import DEDUP
from kmem.bench.pipeline.texts import chunks_per_mb, first, megabytes, mixed
from kmem.bench.pipeline.workers import measure_workers, require_same
from kmem.document import Document
from kmem.errors import ConfigError, MeasurementError
from kmem.kbuild.chunker import Chunker
from kmem.pipelines.config import ExecutorConfig
from kmem.pipelines.report import BuildReport
from kmem.progress import Progress, silent
from kmem.words import words
from tests.kbuild.dedup.texts import chinese, english
from tests.tiny import byte_tokenizer, save_tiny_model


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """60 documents, 12 of them copies, each text its own."""
    texts = [text for seed in range(30) for text in (english(seed, 180), "\n\n".join([chinese(seed), chinese(seed + 50)]))]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"title": f"Text {number}", "text": text}) for number, text in enumerate(texts)))
    return PipelineConfig(
        corpora=(str(path),), documents=60, planted=4, partitions=3, megabytes=1, rounds=1, encoded=0, chunks=(30, 60), seed=1
    )


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the tokenizer of bytes."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny-llama"))


def test_every_copy_is_what_it_is_called_and_keeps_its_title(config: PipelineConfig) -> None:
    planted = plant(mixed(config), config)
    assert len(planted.documents) == len(planted.family) == 60
    assert Counter(planted.kinds.values()) == {"exact": 4, "edited": 4, "reordered": 4}
    assert {family for family, count in Counter(planted.family).items() if count == 2} == set(planted.kinds)
    for family, kind in planted.kinds.items():
        copy, original = sorted(
            (d for d, own in zip(planted.documents, planted.family, strict=True) if own == family), key=lambda d: ", " not in d.source
        )
        assert copy.title == original.title
        assert (copy.text == original.text) == (kind == "exact")
        assert (Counter(words(copy.text)) == Counter(words(original.text))) == (kind != "edited")
        if kind == "edited":
            changed = sum(one != other for one, other in zip(words(copy.text), words(original.text), strict=True))
            assert changed == round(EDITED * len(words(original.text)))


def test_a_copy_stands_before_its_original_as_often_as_behind(config: PipelineConfig) -> None:
    planted = plant(mixed(config), config)
    first = [next(d for d, own in zip(planted.documents, planted.family, strict=True) if own == family) for family in planted.kinds]
    assert 0 < sum(", " in document.source for document in first) < len(first)


def test_planted_copies_are_found(config: PipelineConfig) -> None:
    figures = measure_found(plant(mixed(config), config), config, DEDUP)
    assert figures["dedup_recall"] >= 0.9
    assert figures["dedup_precision"] == 1.0
    assert figures["recall"]["exact"] == figures["recall"]["reordered"] == 1.0
    assert figures["dropped"]["exact duplicate"] == 4


def test_texts_that_are_alike_by_themselves_count_against_precision(config: PipelineConfig) -> None:
    planted = plant(mixed(config), config)
    document = next(d for d, own in zip(planted.documents, planted.family, strict=True) if own not in planted.kinds)
    planted.documents.append(document)
    planted.family.append(-1)
    assert measure_found(planted, config, DEDUP)["false_drops"] == 1
    assert measure_found(planted, config, DEDUP)["dedup_precision"] < 1.0


def test_one_paragraph_or_short_ones_are_not_reordered() -> None:
    draw = random.Random(0)
    assert reordered(" ".join(["word"] * 80), draw) is None
    assert reordered("\n\n".join(["a list"] * 2 + ["of lines"] * 40), draw) is None
    text = "\n\n".join([english(1, 40).replace("\n\n", " "), english(2, 40).replace("\n\n", " ")])
    assert reordered(text, draw) == "\n\n".join(reversed(text.split("\n\n")))


def test_an_edited_word_is_another_one() -> None:
    text = "same " * 100
    assert words(edited(text, ["other", "same"] * 10, random.Random(0))).count("other") == 5


def test_documents_never_end_and_none_comes_twice() -> None:
    several = [Document(source=str(seed), text=english(seed)) for seed in range(3)]
    many = list(islice(endless(several), 9))
    assert many[:3] == several
    assert len({document.text for document in many}) == 9
    assert sorted(many[3].text.split()) == sorted(several[0].text.split())


def test_a_density_leads_to_so_many_chunks(config: PipelineConfig) -> None:
    several = mixed(config)
    density = chunks_per_mb(several, byte_tokenizer())
    assert density * megabytes(several) == pytest.approx(sum(1 for _ in Chunker(byte_tokenizer()).run(several)), rel=0.01)
    assert len(first(several, 1e-9)) == 1


def test_workers_that_write_another_bank_give_no_figure() -> None:
    report = BuildReport(
        bank="b", dry_run=False, profile="p", counts={}, chunks=1, tokens=1, slots=1, record_bytes=1, payload_bytes=1, shards=1
    )
    one = Built(report=report, stages={}, digests=("a", "b"))
    require_same({1: [one, one], 2: [one]})
    with pytest.raises(MeasurementError, match="different banks"):
        require_same({1: [one], 2: [replace(one, digests=("a", "c"))]})


@pytest.mark.slow
def test_two_workers_are_measured_against_one(config: PipelineConfig, tiny_folder: Path, tmp_path: Path) -> None:
    several = mixed(config)
    density = chunks_per_mb(several, byte_tokenizer())
    figures = measure_workers(several, density, str(tiny_folder), replace(config, encoded=64), tmp_path, silent)
    one, two = (figures["stages_by_workers"][workers] for workers in ("1", "2"))
    assert one.keys() == two.keys() > {"read, documents/s", "chunk, MB/s", "encode, chunks/s", "embed, chunks/s"}
    assert all(rate > 0 for rate in [*one.values(), *two.values()])
    assert 32 <= figures["workers"]["encoded_chunks"] <= 128
    (first_rate,), (second_rate,) = figures["workers"]["encode_chunks_per_s"].values()
    assert figures["encode_two_over_one"] == pytest.approx(second_rate / first_rate, rel=0.01)


def test_every_figure_is_there(config: PipelineConfig, tiny_folder: Path, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    figures = measure_pipeline(config, str(tiny_folder), byte_tokenizer(), tmp_path, progress=lambda *now: said.append(now))
    for name in (*figures["asked"], *figures["asked_at_most"]):
        assert figures[name] > 0
    assert list(figures["ms_per_chunk"]) == ["30", "60"]
    assert "encode_two_over_one" not in figures["asked"]
    assert all(rate > 0 for rate in figures["mb_per_s_core"].values())
    built = figures["chunks_built"]
    assert 0.5 * 30 <= built["30"] < built["60"] <= 1.5 * 60
    assert {"read", "deduplicate", "chunk", "deduplicate-chunks", "encode", "embed", "index"} <= set(figures["ms_per_chunk_by_stage"]["60"])
    assert figures["marginal_growth"] is None  # of two sizes
    assert not (tmp_path / "bank").exists()
    assert figures["clean_mb_per_s_core"] < figures["mb_per_s_core"]["minhash"]
    assert {stage for stage, *_ in said} == {"deduplicate", "stages", "grow"}
    assert said[-1][1] == said[-1][2]


def test_growth_is_of_the_seconds_and_chunks_of_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size but the largest twice, and the first build of all not counted."""
    seconds = {"10": [99.0, 2.0, 4.0], "20": [5.0, 7.0], "40": [20.0]}
    chunks = {"10": 10, "20": 30, "40": 80}

    def timed(source: str, model: str, folder: Path) -> tuple[Built, float]:
        size = Path(source).stem
        report = BuildReport(
            bank="b",
            dry_run=False,
            profile="p",
            counts={},
            chunks=chunks[size],
            tokens=1,
            slots=1,
            record_bytes=1,
            payload_bytes=1,
            shards=1,
        )
        report.seconds = {"index": 1.0}
        return Built(report=report, stages={"read": {"worker_seconds": 2.0}}, digests=()), seconds[size].pop(0)

    monkeypatch.setattr(growth, "_timed", timed)
    several = [Document(source="one", text="some words of a text")]
    figures = growth.measure_growth(several, 1e6, "none", PipelineConfig(chunks=(10, 20, 40)), tmp_path, silent)
    assert not any(seconds.values())
    assert figures["ms_per_chunk"] == {"10": 300.0, "20": 200.0, "40": 250.0}
    assert figures["cost_growth"] == 1.25
    assert figures["marginal_growth"] == pytest.approx(((20 - 6) / 50) / ((6 - 3) / 20), abs=1e-4)
    assert figures["chunks_built"] == chunks
    assert figures["ms_per_chunk_by_stage"]["40"] == {"read": 25.0, "index": 12.5}


def test_the_clock_stops_at_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = [0.0], list[int]()

    def build_of(source: str, folder: Path, config: object, executor: ExecutorConfig, progress: Progress) -> None:
        asked.append(executor.partition_bytes)
        for spent, told in ((1, ("load", 1, 1)), (2, ("index", 0, 7)), (4, ("index", 7, 7)), (8, ("done", 0, 0))):
            clock[0] += spent
            progress(*told)

    monkeypatch.setattr(growth, "built", build_of)
    monkeypatch.setattr("kmem.bench.pipeline.growth.time.process_time", lambda: clock[0])
    assert growth._timed("source", "none", tmp_path)[1] == 2 + 4
    assert asked == [growth.PARTITION_BYTES]


@pytest.mark.parametrize("options", [{"chunks": (5,)}, {"encoded": -1}, {"chunks": (6, 3)}, {"documents": 10}, {"rounds": 0}])
def test_a_config_says_what_it_can_not_be(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        PipelineConfig(**options)  # type: ignore[arg-type]


def test_corpora_that_hold_too_little_are_named(config: PipelineConfig) -> None:
    few = PipelineConfig(corpora=config.corpora, documents=90, planted=4)
    with pytest.raises(ConfigError, match="ask for fewer documents"):
        plant(mixed(few), few)
    many = PipelineConfig(corpora=config.corpora, documents=60, planted=10)
    short = [Document(source=str(number), text="too short") for number in range(60)]
    with pytest.raises(ConfigError, match="plant fewer"):
        plant(short, many)
