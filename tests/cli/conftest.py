"""Run `kmem …` in this process, as a user sees it: exit code, standard output, standard error."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmem.cli.main import main
from tests.tiny import save_tiny_model


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def kmem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kmem", *map(str, arguments)])
        capsys.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        code = exit_.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    monkeypatch.setenv("COLUMNS", "200")
    return run


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def bank_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank built by kmem.build from three Markdown files; tests that damage it copy it first."""
    from kmem.pipelines.build import build
    from kmem.pipelines.config import BuildConfig

    root = tmp_path_factory.mktemp("cli")
    docs = root / "docs"
    docs.mkdir()
    for title, text in (
        ("Hash table", "It maps keys to values."),
        ("Fox", "The quick brown fox jumps."),
        ("Iron", "Iron rusts in wet air."),
    ):
        (docs / f"{title}.md").write_text(f"# {title}\n\n{text}\n")
    build([str(docs)], out=root / "bank", config=BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32"))
    return root / "bank"
