"""The README is a transcript: its commands run, in order, beside a small demo bank, and so does its Python."""

import contextlib
import io
import re
import shlex
import sys
import warnings
from pathlib import Path

import pytest

import kmem
from kmem.cli.build import summary
from kmem.cli.generate import cost
from kmem.cli.main import main
from kmem.kbuild.corpora import fetch_corpus
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig
from kmem.runtime.answer import Answer

pytestmark = pytest.mark.real
README = Path(__file__).parents[2] / "README.md"
PAGE_CHARACTERS = 6000
"""Enough of a page: all that is there is encoded, by the real model."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README, the changelog and docs/ begin with, and a demo bank that holds the articles the README asks about."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "docs").mkdir()
    for page in (README, README.with_name("CHANGELOG.md"), *(README.parent / "docs").glob("*.md")):
        (folder / page.relative_to(README.parent)).write_text(page.read_text()[:PAGE_CHARACTERS])
    lines = fetch_corpus("vital-articles").read_text().splitlines()
    wanted = [line for line in lines if any(f'"title": "{title}"' in line for title in ("Kabuki", "Alhambra", "Noh", "Ukiyo-e"))]
    assert len(wanted) == 4
    (folder / "articles.jsonl").write_text("\n".join(wanted) + "\n")
    build([str(folder / "articles.jsonl")], out=folder / "demo-bank", config=BuildConfig())
    return folder


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_every_command_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(workplace)
    commands = [line.removeprefix("$ kmem ") for block in blocks("console") for line in block.splitlines() if line.startswith("$ kmem ")]
    assert len(commands) >= 6
    with kmem.open("demo-bank") as bank:
        here = str(bank.search("Japanese theatre with elaborate costumes", k=1)[0].id)
    for command in commands:
        arguments = [here if word.isdigit() and len(word) > 15 else word for word in shlex.split(command)]  # ids hash the source's path
        monkeypatch.setattr(sys, "argv", ["kmem", *arguments])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        assert exit_.value.code in (0, None), f"kmem {command}: {captured.err}"
        assert captured.out.strip()
        if "Japanese theatre" in command:
            assert "Kabuki" in captured.out


def test_the_python_examples_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    reading, building, managing = blocks("python")
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(reading, "README.md", "exec"), names)
    assert "Granada" in printed.getvalue()
    assert "Alhambra" in printed.getvalue().splitlines()[-1]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(building, "README.md", "exec"), {})
    assert printed.getvalue().startswith(f"8 {720 * 2 * (64 + 2)} ")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(managing, "README.md", "exec"), names)
    fraction, held = printed.getvalue().split()
    assert 0.3 < float(fraction) < 1
    assert int(held) > 0


def test_the_transcript_says_what_the_code_prints(workplace: Path, tmp_path: Path) -> None:
    """The numbers are of another day; labels and phrases are those of today."""
    transcript = blocks("text")[0]
    report = build([str(workplace / "articles.jsonl")], out=tmp_path / "bank", dry_run=True)
    printed = {str(cell) for cell in summary(report, "Built").columns[0].cells}
    labels = set(re.findall(r"^│ ([a-z][a-z ]*?) +│ [^│]+│$", transcript, re.MULTILINE))
    assert {"documents in", "documents kept", "chunks in", "chunks kept", "payload", "time"} <= labels <= printed | {"time"}
    given = Answer(knowledge="nothing", text="", seconds=0.1, first_token_s=0.1, prompt_tokens=13, new_tokens=1)
    unwrapped = " ".join(" ".join(line.split("│")[1].split()) for line in transcript.splitlines() if line.count("│") == 4)
    assert timeless(cost(given)) in timeless(unwrapped)
    assert "(an empty answer)" in unwrapped


def timeless(text: str) -> str:
    """The text with every time that was measured as 0.0."""
    return re.sub(r"\d+\.\d s", "0.0 s", text)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make (\w+)`|^\$ make (\w+)", README.read_text(), re.MULTILINE))
    assert {name for pair in named for name in pair if name} <= targets
