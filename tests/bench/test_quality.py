"""What the benchmark of quality asks, with which profiles, and how memories are read: as a bank gives them back."""

import json
from pathlib import Path

import pytest
import torch

from kmem.bench import quality
from kmem.bench.config import DEVELOPMENT, QualityConfig
from kmem.bench.profiles import chosen_profiles, chosen_selectors, measured_profiles
from kmem.bench.quality import among_five, ask, encode, measure_quality
from kmem.bench.stored import as_stored, stored_bytes
from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import fitting_profiles
from kmem.encoder.select import SELECTORS
from kmem.errors import ConfigError, SourceNotFoundError, UnknownNameError
from kmem.profile import Profile
from kmem.progress import silent
from kmem.training.passages import passages
from tests.tiny import HashEmbedder, byte_tokenizer, tiny_model, uniform_budget


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(quality, "Embedder", HashEmbedder)
    lines = [{"title": f"Page {number}", "text": f"Sentence {number} of a page that is long enough. " * 5} for number in range(60)]
    (tmp_path / "pages.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(tmp_path / "pages.jsonl")


def test_every_memory_is_read_among_four_others() -> None:
    for count in (5, 6, 9, 10, 11, 64):
        assert all(len(set(ids)) == 5 and max(ids) < count for ids in among_five(count))
        assert [ids[0] for ids in among_five(count)] == list(range(count))
    assert among_five(2) == [(0, 1), (1, 0)]
    assert among_five(1) == [(0,)]


def test_passages_that_settings_were_chosen_with_are_skipped(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = passages(corpus, held_out=True)
    assert 8 < len(known) < DEVELOPMENT
    asked = ask(byte_tokenizer(), QualityConfig(corpus=corpus, articles=4))  # a small corpus: what is asked about comes last
    assert (asked.pool, asked.skipped) == (tuple(known[-4:]), len(known) - 4)
    assert ask(byte_tokenizer(), QualityConfig(corpus=corpus, articles=500)).skipped == 0
    monkeypatch.setattr(quality, "DEVELOPMENT", 3)
    asked = ask(byte_tokenizer(), QualityConfig(corpus=corpus, articles=2))
    assert (asked.pool, asked.skipped, len(asked.probes)) == (tuple(known[3:]), 3, 2)


def test_a_corpus_without_titles_and_no_profile_at_all(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"Sentence {number} of a page that is long enough. " * 5)
    with pytest.raises(SourceNotFoundError, match="has a title"):
        ask(byte_tokenizer(), QualityConfig(corpus=str(tmp_path)))
    with pytest.raises(ConfigError, match="profiles is empty"):
        QualityConfig(profiles=())


def test_profiles_of_one_size_have_keys_of_their_own(tmp_path: Path) -> None:
    files = []
    for name, folder in (("a", "one"), ("b", "one"), ("b", "two"), ("b", "three")):
        (tmp_path / folder).mkdir(exist_ok=True)
        files.append(str(tmp_path / folder / f"{name}.json"))
        Path(files[-1]).write_text(json.dumps({"name": name, "budget": uniform_budget(4)}))
    chosen = chosen_profiles(tiny_model(), QualityConfig(profiles=tuple(files)))
    assert list(chosen) == ["profile_32", "profile_32_b", "profile_32_b_2", "profile_32_b_3"]
    assert list(measured_profiles(chosen, QualityConfig())) == ["dense", *chosen, "uniform8", "random8"]


def test_selectors_that_are_named_are_measured_alone_and_full_measures_all() -> None:
    chosen = chosen_profiles(tiny_model(), QualityConfig())
    found = measured_profiles(chosen, QualityConfig(selectors=("innovation", "h2o", "innovation")))
    assert list(found) == ["uniform8_innovation", "budget_64_innovation", "uniform8_h2o", "budget_64_h2o"]
    assert [profile.selector for profile in found.values()] == ["innovation"] * 2 + ["h2o"] * 2
    every = measured_profiles(chosen, QualityConfig(full=True))
    assert found.items() < every.items()
    assert len(every) == 4 + 2 * len(SELECTORS)
    with pytest.raises(UnknownNameError, match=r"'inovation'; there are .*innovation"):
        chosen_selectors(QualityConfig(selectors=("inovation",)))
    with pytest.raises(ConfigError, match="give one of them"):
        QualityConfig(selectors=("h2o",), full=True)


def test_a_selector_s_figures_are_those_of_the_whole_table(corpus: str) -> None:
    both = [QualityConfig(corpus=corpus, articles=3, pool=5, **more) for more in ({"full": True}, {"selectors": ("innovation",)})]
    full, alone = (measure_quality(tiny_model(), byte_tokenizer(), config) for config in both)
    assert list(alone["nll"]) == ["nothing", "text", "uniform8_innovation", "budget_64_innovation"]
    assert alone["nll"] == {name: pytest.approx(full["nll"][name]) for name in alone["nll"]}
    assert alone["low95"] == {name: pytest.approx(full["low95"][name]) for name in alone["low95"]}


def test_profiles_go_by_the_model_unless_they_are_named() -> None:
    assert fitting_profiles(30, 3) == ["smollm2-720", "smollm2-360"]
    assert {key: profile.name for key, profile in chosen_profiles(tiny_model(), QualityConfig()).items()} == {"profile_64": "uniform8"}
    with pytest.raises(ConfigError, match="30 layers × 3 key-value heads, but the model has 4 × 2"):
        chosen_profiles(tiny_model(), QualityConfig(profiles=("smollm2-360",)))


def test_memories_are_read_in_the_precision_whose_bytes_are_counted(corpus: str) -> None:
    encoder = Encoder(tiny_model(), byte_tokenizer(), Profile(name="t", budget=uniform_budget(8)))
    exact = encoder.encode(["one", "another"])
    rounded = as_stored(exact).kv
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, exact.kv.half().float())
    assert not torch.equal(rounded, exact.kv)
    assert stored_bytes(encoder.profile, 8) == rounded[0].numel() * 2
    read = encode(encoder, ask(byte_tokenizer(), QualityConfig(corpus=corpus, articles=2)), [0, 1], silent).kv
    assert torch.equal(read, read.half().float())


def test_the_result_says_what_was_used(corpus: str) -> None:
    seen: list[tuple[str, int]] = []
    figures = measure_quality(
        tiny_model(),
        byte_tokenizer(),
        QualityConfig(corpus=corpus, articles=2, pool=3),
        progress=lambda stage, done, total: seen.append((stage, done)),
    )
    held_out = len(passages(corpus, held_out=True))
    settings = figures["settings"]
    assert settings.pop("model").startswith("Llama")
    assert settings == {
        "corpus": corpus,
        "profiles": {"profile_64": "uniform8"},
        "articles": 2,
        "pool": 2,
        "skipped": held_out - 2,
        "leaks": 0,
    }
    assert dict(reversed(seen)) == {"measure": 0, "encode": 0}
    json.dumps(figures, allow_nan=False)
