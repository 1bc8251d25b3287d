"""`kmem quality`: train, score, and what each says of bad input."""

import json
from pathlib import Path

import pytest

from kmem.kbuild.quality.labelled import Labelled
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.kbuild.test_quality import labelled


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quality") / "labelled.jsonl"
    rows: Labelled = labelled(sources=True)
    cells = zip(rows.texts, rows.targets.tolist(), rows.sources, strict=True)
    path.write_text("".join(json.dumps({"text": text, "label": label, "source": source}) + "\n" for text, label, source in cells))
    return path


def test_train_then_score(kmem: Run, lines: Path, tmp_path: Path) -> None:
    trained = kmem("quality", "train", lines, "--out", tmp_path / "mine")
    assert trained.code == 0, trained.err
    for words in ("accuracy", "auc", "calibration error", "held-out sources", "sd", "160 rows", f"Wrote {tmp_path / 'mine'}"):
        assert words in trained.out
    refused(kmem("quality", "train", lines, "--out", tmp_path / "mine"), "--force")
    again = json.loads(kmem("quality", "train", lines, "--out", tmp_path / "mine", "--force", "--json").out)
    assert again["held_out"]["auc"] == 1
    provenance = json.loads((tmp_path / "mine/scorer.json").read_text())["provenance"]
    assert provenance["labelled"]["file"] == "labelled.jsonl"
    assert provenance["by_source"] == again["by_source"]
    (tmp_path / "a.txt").write_text("The iron rusts because water reacts slowly with the iron in wet air.")
    (tmp_path / "b.txt").write_text("Home\nNext\nUp\nIndex\nContents\nSearch\nPage 3\nHome\nNext")
    options = ("--scorer", tmp_path / "mine", "--out", tmp_path / "out.jsonl", "--picture", tmp_path / "s.png")
    scored = json.loads(kmem("quality", "score", tmp_path / "a.txt", tmp_path / "b.txt", *options, "--json").out)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (scored["documents"], sum(scored["histogram"]), scored["scorer"]["digest"]) == (2, 2, again["digest"])
    assert rows[0]["score"] > 0.5 > rows[1]["score"]
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_the_shipped_scorer_shows_extremes(kmem: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # of a long name only the beginning is shown
    (tmp_path / "a.txt").write_text("Iron rusts when it meets water and oxygen, and the oxide that forms is porous.\x1b[2J")
    shown = kmem("quality", "score", "a.txt", "--limit", "1")
    assert shown.code == 0, shown.err
    for words in ("scorer general", "50%", "lowest", "highest", "a.txt"):
        assert words in shown.out
    assert "\x1b[2J" not in shown.out


def test_bad_input(kmem: Run, lines: Path, tmp_path: Path) -> None:
    train = ("quality", "train")
    refused(kmem(*train, tmp_path / "gone.jsonl", "--out", tmp_path / "x"), "gone.jsonl", "can't be read")
    refused(kmem(*train, lines, "--out", tmp_path / "x", "--kind", "bert"), "'bert'", "ngram, embedding")
    refused(kmem(*train, lines, "--out", tmp_path / "x", "--highest", "nan"), "highest", "nan")
    refused(kmem(*train, lines, "--out", tmp_path / "x", "--highest", "0.5"), "label 1", "--highest")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "x"}\n')
    refused(kmem(*train, bad, "--out", tmp_path / "x"), "bad.jsonl, line 1", "label")
    for label in ("NaN", "1e999", "1" + 400 * "0"):
        bad.write_text(f'{{"text": "x", "label": {label}}}\n')
        refused(kmem(*train, bad, "--out", tmp_path / "x"), "finite number")
    bad.write_text('{"text": "x\\ud800", "label": 1}\n')
    refused(kmem(*train, bad, "--out", tmp_path / "x"), "bad.jsonl, line 1", "field 'text' has half a character")
    bad.write_text("".join(json.dumps({"text": f"x {row}", "label": 1}) + "\n" for row in range(99)))
    refused(kmem(*train, bad, "--out", tmp_path / "x"), "one class only")
    bad.write_text('{"text": "x", "label": 1}\n')
    refused(kmem(*train, bad, "--out", tmp_path / "x"), "1 labelled row", "at least 40")
    assert not (tmp_path / "x").exists()
    (tmp_path / "a.txt").write_text("text")
    score = ("quality", "score", tmp_path / "a.txt")
    refused(kmem(*score, "--scorer", "genral"), "'genral'", "general")
    refused(kmem(*score, "--scorer", tmp_path), "holds no scorer")
    refused(kmem(*score, "--picture", tmp_path / "a.jpg"), ".png")
    refused(kmem(*score, "--out", tmp_path / "no" / "a.jsonl"), "no folder")
    refused(kmem(*score, "--limit", "0"), "limit must be at least 1")
    refused(kmem("quality", "examples", tmp_path / "no" / "a.jsonl"), "no folder")
    refused(kmem("quality", "examples", tmp_path / "a.jsonl", "--each", "0"), "each (0)")
    assert not (tmp_path / "a.jsonl").exists()


def test_a_place_that_takes_no_scorer_is_refused_before_training(kmem: Run, lines: Path, tmp_path: Path) -> None:
    train = ("quality", "train", lines)
    refused(kmem(*train, "--out", lines), "can't be a folder", "is a file")
    refused(kmem(*train, "--out", lines / "a" / "b"), "can't be a folder", f"{lines} is a file")
    options = ("--out", tmp_path / "x", "--embedder")
    refused(kmem(*train, *options, "multilingual"), "--kind embedding")
    for name in ("bm25", "hidden", "hybrid", "hybrid:minilm"):
        refused(kmem(*train, *options, name, "--kind", "embedding"), f"--embedder {name} has no vectors")
    assert not (tmp_path / "x").exists()


def test_brackets_in_names_are_no_markup(kmem: Run, lines: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.jsonl"
    odd.write_text(lines.read_text().replace('"source": "', '"source": "[/b]'))
    trained = kmem("quality", "train", odd, "--out", tmp_path / "[/mine]")
    assert trained.code == 0, trained.err
    assert "[/b]" in trained.out
    assert f"Wrote {tmp_path}/[/mine]" in trained.out
    (tmp_path / "a.txt").write_text("Iron rusts in wet air.")
    scored = kmem("quality", "score", tmp_path / "a.txt", "--scorer", tmp_path / "[/mine]")
    assert scored.code == 0, scored.err


def test_scores_never_take_the_place_of_a_text(kmem: Run, tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.jsonl", tmp_path / "scores.jsonl"
    texts.write_text(json.dumps({"text": "Iron rusts in wet air."}) + "\n")
    before = texts.read_bytes()
    refused(kmem("quality", "score", texts, "--out", texts), "one of the texts to score")
    refused(kmem("quality", "score", tmp_path / "*.jsonl", "--out", texts), "one of the texts to score")
    assert texts.read_bytes() == before
    out.write_text("what an earlier run found")
    refused(kmem("quality", "score", tmp_path / "gone.txt", "--out", out), "gone.txt")
    assert out.read_text() == "what an earlier run found"
    out.unlink()
    assert kmem("quality", "score", tmp_path, "--out", out).code == 0  # its own lines are none of the texts
    assert len(out.read_text().splitlines()) == 1


def test_examples_that_fail_leave_the_file(kmem: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "labelled.jsonl"
    out.write_text("labelled before")
    monkeypatch.setenv("KMEM_CACHE", str(out))  # a file: nothing can be fetched into it
    refused(kmem("quality", "examples", out), "KMEM_CACHE")
    assert out.read_text() == "labelled before"
