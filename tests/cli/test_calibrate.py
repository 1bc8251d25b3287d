"""`kmem calibrate` writes profiles that `kmem build` takes and `kmem bench quality` measures; pictures are drawn."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import kmem.training.calibrate as calibrate_module
from kmem.training.checkpoint import Checkpoint
from kmem.training.state import State
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for number in range(40):
        text = f"Page {number} is about Lake {'ABCDEFGH'[number % 8]}anta, which lies {number * 7} miles from the town of Oxbow. " * 3
        (folder / f"{number}.jsonl").write_text(json.dumps({"title": f"Lake number {number}", "text": text}) + "\n")
    return folder


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer brackets, judges and ablations, and more checkpoints, than anyone but a test has time for."""
    for name, value in (("BRACKETS", calibrate_module.BRACKETS[:2]), ("JUDGES", 2), ("ABLATED", 1), ("STEPS_A_CHECKPOINT", 2)):
        monkeypatch.setattr(calibrate_module, name, value)


def options(tiny_folder: Path, corpus: Path) -> tuple[object, ...]:
    return ("--model", tiny_folder, "--corpus", corpus, "--passages", "8", "--steps", "6", "--dtype", "float32")


def test_profiles_are_found_built_with_and_measured(kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine-{slots}.json"
    done = kmem("calibrate", *options(tiny_folder, corpus), "--slots", "32,64", "--out", out)
    assert done.code == 0
    assert "tokens of 64" in done.out
    assert "mine-64.json" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-32.json", "mine-64.json"]  # no checkpoint is left
    profile = json.loads((tmp_path / "mine-64.json").read_text())
    assert sum(map(sum, profile["budget"])) == 64
    assert profile["name"] == "mine-64"
    assert profile["provenance"]["corpus"] == str(corpus)
    assert profile["provenance"]["command"].startswith("kmem calibrate")
    assert profile["provenance"]["passages"] == 8
    assert "Learnt from 8 passages; the bracket was chosen on" in done.out
    assert len(profile["provenance"]["worth"]) == 8

    built = kmem("build", corpus, "--out", tmp_path / "bank", "--model", tiny_folder, "--profile", tmp_path / "mine-64.json", "--json")
    assert json.loads(built.out)["slots"] == 64
    pictures = [tmp_path / name for name in ("info.png", "show.png", "share.png")]
    hit = json.loads(kmem("query", tmp_path / "bank", "a lake", "-k", "1", "--json").out)["hits"][0]["id"]
    assert kmem("info", tmp_path / "bank", "--png", pictures[0]).code == 0
    assert kmem("show", tmp_path / "bank", hit, "--png", pictures[1]).code == 0
    refused(kmem("info", tmp_path / "bank", "--png", tmp_path / "info.jpg"), "info.jpg", ".png")

    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "Where?", "answer": "Oxbow", "context": "It lies near Oxbow."}) + "\n")
    measured = kmem(
        "bench", "quality", "--model", tiny_folder, "--corpus", corpus, "--articles", "4", "--pool", "6", "--full",
        "--profile", tmp_path / "mine-64.json", "--profile", tmp_path / "mine-32.json", "--questions", questions,
        "--picture", pictures[2], "--json", "-",
    )  # fmt: skip
    figures = json.loads(measured.out)
    wanted = {"dense", "profile_64", "profile_32", "among_five_64", "uniform8", "random8", "retrieved", "retrieved_text"}
    assert wanted <= figures["share_of_text_gain"].keys() == figures["low95"].keys()
    assert {"uniform8_h2o", "budget_64_knorm"} <= figures["share_of_text_gain"].keys()
    assert figures["bytes_per_memory"]["profile_64"] == 64 * 2 * 8 * 2
    assert figures["nll"].keys() == figures["share_of_text_gain"].keys() | {"nothing", "text"}
    assert set(figures["questions"]["f1"]) >= {"nothing", "text", "profile_64"}
    assert set(figures["questions"]["prompts"]["q_a"]) == {"profile_64", "profile_32", "dense"}
    assert figures["command"].startswith("kmem bench quality")
    assert figures["settings"]["articles"] == 4
    assert figures["settings"]["profiles"] == {"profile_64": "mine-64", "profile_32": "mine-32"}
    assert all(picture.read_bytes().startswith(PNG) for picture in pictures)


def test_bad_input(kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    base = ("calibrate", *options(tiny_folder, corpus))
    refused(kmem(*base, "--slots", "many", "--out", tmp_path / "x.json"), "'many'", "360,720")
    refused(kmem(*base, "--slots", "8,16", "--out", tmp_path / "x.json"), "{slots}")
    refused(kmem(*base, "--slots", "2000", "--out", tmp_path / "x.json"), "2000", "1024")
    refused(kmem(*base, "--slots", "8", "--out", tmp_path / "x.txt"), "x.txt", ".json")
    refused(kmem(*base, "--slots", "8", "--out", tmp_path / "no" / "x.json"), "there is no folder")
    refused(kmem(*base, "--slots", "8", "--out", tmp_path / "x.json", "--selector", "knrm"), "'knrm'", "knorm")
    refused(
        kmem("calibrate", "--model", tiny_folder, "--corpus", tmp_path / "gone", "--out", tmp_path / "x.json"), "gone", "does not exist"
    )
    refused(kmem("bench", "quality", "--model", tiny_folder, "--corpus", corpus, "--profile", "smollm2-720"), "30 layers × 3", "4 × 2")
    refused(kmem("bench", "quality", "--model", tmp_path / "no-model", "--selector", "inovation"), "'inovation'", "innovation")
    refused(kmem("bench", "quality", "--model", tiny_folder, "--questions", tmp_path / "gone.jsonl"), "gone.jsonl")
    refused(kmem("bench", "quality", "--model", tmp_path / "no-model", "--picture", tmp_path / "x.jpg"), "x.jpg must end in .png")
    untitled = corpus.parent / "untitled.jsonl"
    untitled.write_text("".join(json.dumps({"text": f"Sentence {number} of a long page. " * 9}) + "\n" for number in range(40)))
    refused(kmem("bench", "quality", "--model", tiny_folder, "--corpus", untitled), "untitled.jsonl", "has a title")
    assert list(tmp_path.iterdir()) == []


def test_figures_are_written_before_they_are_drawn_and_a_missing_share_is_a_dash(
    kmem: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {
        "settings": {"articles": 3, "skipped": 2, "pool": 7, "profiles": {}},
        "nll": {"nothing": 1.0, "text": 2.0, "dense": 1.5},
        "share_of_text_gain": {"dense": None},
        "low95": {"dense": None},
        "bytes_per_memory": {"dense": 2048},
    }

    def interrupted(figures: object, path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kmem.bench.quality.measure_quality", lambda *given, **options: dict(figures))
    shown = kmem("bench", "quality", "--model", tiny_folder)
    assert shown.code == 0
    assert "3 passages of corpus:foldoc (2 skipped), 7 to retrieve from" in shown.out
    assert [cell.strip() for cell in next(line for line in shown.out.splitlines() if "dense" in line).split("│")[3:5]] == ["–", "–"]
    monkeypatch.setattr("kmem.bench.picture.draw_shares", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kmem("bench", "quality", "--model", tiny_folder, "--json", tmp_path / "q.json", "--picture", tmp_path / "q.png")
    assert json.loads((tmp_path / "q.json").read_text())["settings"]["pool"] == 7


def stopping(monkeypatch: pytest.MonkeyPatch, stage: int) -> None:
    """Ctrl-C, once the checkpoint of a search in this stage is written."""
    save = Checkpoint.save

    def saved(checkpoint: Checkpoint, settings: Mapping[str, Any], state: State) -> None:
        save(checkpoint, settings, state)
        if state.stage == stage and state.search is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", saved)


def test_ctrl_c_and_resume_end_with_the_same_bytes(
    kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("calibrate", "--model", tiny_folder, "--corpus", corpus, "--passages", "2", "--steps", "4", "--dtype", "float32")
    command = (*options, "--slots", "16,32", "--out", "x-{slots}.json")
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert kmem(*command).code == 0
    monkeypatch.chdir(tmp_path / "stopped")
    again: tuple[object, ...] = ()
    for stage in (2, 3):  # the refinement of the larger size, the search of the smaller one
        with monkeypatch.context() as patch:
            stopping(patch, stage)
            outcome = kmem(*command, *again)
        assert outcome.code == 130
        assert outcome.err.strip().startswith("kmem: stopped; go on with: kmem calibrate")
        assert outcome.err.strip().endswith("--resume")
        assert not list(Path.cwd().glob("x-*.json"))
        refused(kmem(*command), "x-32.json.calibration", "--resume")
        again = ("--resume",)
    assert kmem(*command, "--resume").code == 0
    for name in ("x-16.json", "x-32.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(os.listdir()) == ["x-16.json", "x-32.json"]
    refused(kmem(*command), "x-32.json is there already", "--force")
    assert kmem(*command, "--force", "--steps", "1").code == 0
    assert (tmp_path / "stopped" / "x-32.json").read_bytes() != (tmp_path / "whole" / "x-32.json").read_bytes()
