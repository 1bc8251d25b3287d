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


def test_the_shipped_scorer_shows_extremes(kmem: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Iron rusts when it meets water and oxygen, and the oxide that forms is porous.\x1b[2J")
    shown = kmem("quality", "score", tmp_path / "a.txt", "--limit", "1")
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
    bad.write_text('{"text": "x", "label": NaN}\n')
    refused(kmem(*train, bad, "--out", tmp_path / "x"), "finite number")
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
