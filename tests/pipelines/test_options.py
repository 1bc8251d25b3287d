"""Options from a file and from the command line: what is given goes first, what is misspelt is named."""

from pathlib import Path

import pytest

from kmem.errors import ConfigError, UnknownNameError
from kmem.options import read_options
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.pipelines.options import Options, options_of


def test_what_is_printed_is_read_back(tmp_path: Path) -> None:
    given = {"sources": ["a.txt"], "out": "bank", "limit": 7, "rules.preset": "web", "rules.min-words": 20.0, "executor.workers": 2}
    options = options_of({}, {**given, "languages.keep": ["en", "zh"], "dedup.mode": "exact", "chunk.overlap_tokens": 16})
    (tmp_path / "build.yaml").write_text(options.to_yaml())
    assert options_of(read_options(str(tmp_path / "build.yaml")), {}) == options
    assert options.build.languages.keep == ("en", "zh")
    assert options.build.rules.limits["min-words"] == 20
    assert (options.build.dedup.mode, options.build.dedup_chunks.mode) == ("exact", BuildConfig().dedup_chunks.mode)


def test_what_is_given_goes_before_the_file() -> None:
    file: dict[str, object] = {
        "limit": 3,
        "rules": "web",
        "dedup": {"mode": "none"},
        "quality": {"minimum": 1},
        "sources": "one.txt",
        "read": None,
    }
    options = options_of(file, {"limit": 5, "dedup.mode": "near", "rules.lorem-ipsum": False})
    assert (options.build.limit, options.build.dedup.mode, options.sources) == (5, "near", ("one.txt",))
    assert options.build.rules.preset == "web"
    assert "lorem-ipsum" not in options.build.rules.limits
    assert options_of({}, {}) == Options()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"limt": 3}, "no option limt; did you mean limit?"),
        ({"dedup": {"treshold": 0.5}}, r"no option dedup.treshold; did you mean dedup.threshold\?"),
        ({"executor": {"worker": 2}}, r"did you mean executor.workers\?"),
        ({"xyzzy": 1}, "there are sources, out"),
        ({"dedup": "near"}, "dedup must be a mapping of options, not 'near'"),
        ({"limit": 0}, "limit must be at least 1, not 0"),
        ({"model": 7}, "model is 7, but must be like 'smollm2'"),
        ({"encode": "no"}, "encode is 'no', but must be like True"),
        ({"embedder": None}, "embedder is None, but must be like 'minilm'; a name that is null is written 'null'"),
        ({"batch_size": None}, "batch_size is None, but must be like 16"),
        ({"dedup": {"threshold": None}}, r"dedup\.threshold is None, but must be like 0\.5"),
        ({"quality": {"minimum": None}}, r"quality\.minimum is None"),
        ({"quality": {"scorer": 3}}, r"quality\.scorer is 3, but must be a string"),
        ({"limit": "many"}, "limit is 'many', but must be a whole number"),
        ({"out": ["a"]}, r"out is \['a'\], but must be a string"),
        ({"sources": 3}, "sources must be a list"),
        ({"read": {"text": ""}}, r"read\.text is the empty string"),
        ({"read": {"title": ""}}, r"read\.title is the empty string"),
        ({"read": {"id": ""}}, r"read\.id is the empty string"),
        ({"selector": ""}, "selector is the empty string"),
        ({"index": "HNSW1048576"}, "'HNSW1048576' asks for 1048576 links a vector; give from 2 to 256"),
        ({"index": "IVF9999999,Flat"}, "asks for more than 1048576 lists"),
        ({"target_recall": 0.0}, r"target_recall must lie in \(0, 1\], not 0\.0"),
        ({"embedder": "bm25", "target_recall": 0.9}, "leave --target-recall out"),
        ({"quality": {"minimum": 2}}, "between 0 and 1"),
        ({"executor": {"workers": 2, "scheduler": "tcp://a:1"}}, "exclude each other"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options_of(data, {})


@pytest.mark.parametrize(
    ("data", "given", "words"),
    [
        ({}, {"quality.minimum": 0.3}, r"quality\.minimum does nothing without quality\.scorer"),
        ({"quality": {"scorer": None}}, {"quality.minimum": 0.3}, "does nothing"),
        ({}, {"executor.threads_per_worker": 2}, r"executor\.threads_per_worker does nothing without executor\.workers"),
    ],
)
def test_what_would_do_nothing_is_told(data: dict[str, object], given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options_of(data, given)


def test_what_is_printed_may_hold_what_does_nothing() -> None:
    assert options_of(Options().to_dict(), {}) == Options()
    assert options_of({"quality": {"scorer": "general"}}, {"quality.minimum": 0.3}).build.quality.minimum == 0.3


def test_a_rule_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="min-wrods"):
        options_of({"rules": {"min-wrods": 3}}, {})


def test_files_that_hold_no_options(tmp_path: Path) -> None:
    file = tmp_path / "build.yaml"
    with pytest.raises(ConfigError, match=r"build\.yaml can't be read"):
        read_options(str(file))
    for text, words in (
        ("a: [", "is no YAML"),
        ("", "holds nothing"),
        ("- a", "holds list"),
        ("a: !!python/none x", "no YAML"),
        ("limit: 3\ndedup:\n  mode: near\nlimit: 4\n", r"build\.yaml gives limit twice, in lines 1 and 4: take one"),
        ("dedup:\n  mode: near\n  mode: exact\n", "gives mode twice, in lines 2 and 3"),
        ("dedup: {mode: near, mode: near}", "gives mode twice, in line 1: take"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_options(str(file))


def test_where_it_runs_is_no_part_of_what_is_built() -> None:
    assert "workers" not in str(BuildConfig().to_dict())
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        ExecutorConfig(workers=0)
