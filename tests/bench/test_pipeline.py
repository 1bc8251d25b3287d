"""The benchmark of the pipeline on a few texts: every figure is there, and copies are what they are said to be."""

import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from kmem.bench.pipeline.config import EDITED, PipelineConfig
from kmem.bench.pipeline.found import measure_found
from kmem.bench.pipeline.growth import endless
from kmem.bench.pipeline.measure import measure_pipeline
from kmem.bench.pipeline.plants import edited, plant, reordered
from kmem.bench.pipeline.stages import DEDUP
from kmem.bench.pipeline.texts import mixed
from kmem.document import Document
from kmem.errors import ConfigError
from kmem.words import words
from tests.kbuild.dedup.texts import chinese, english
from tests.tiny import byte_tokenizer


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """60 documents, 12 of them copies, each text its own."""
    texts = [text for seed in range(30) for text in (english(seed, 180), "\n\n".join([chinese(seed), chinese(seed + 50)]))]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"title": f"Text {number}", "text": text}) for number, text in enumerate(texts)))
    return PipelineConfig(corpora=(str(path),), documents=60, planted=4, partitions=3, megabytes=1, rounds=1, chunks=(3, 6), seed=1)


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


def test_every_figure_is_there(config: PipelineConfig, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    figures = measure_pipeline(config, byte_tokenizer(), tmp_path, progress=lambda *now: said.append(now))
    for name in (*figures["asked"], *figures["asked_at_most"]):
        assert figures[name] > 0
    assert list(figures["ms_per_chunk"]) == ["3", "6"]
    assert all(rate > 0 for rate in figures["mb_per_s_core"].values())
    assert figures["clean_mb_per_s_core"] < figures["mb_per_s_core"]["minhash"]
    assert {stage for stage, *_ in said} == {"deduplicate", "stages", "grow"}
    assert said[-1][1] == said[-1][2]


@pytest.mark.parametrize("options", [{"chunks": (5,)}, {"chunks": (6, 3)}, {"documents": 10}, {"rounds": 0}])
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
