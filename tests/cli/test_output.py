"""What reaches the terminal or a pipe, whatever is in the documents, and what is left when someone presses Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from kmem.cli import render
from kmem.cli.render import counted, human_bytes, human_seconds, progress_bars
from kmem.cli.show import lines
from kmem.runtime.inspect import KeptToken
from tests.cli.conftest import Run

KMEM = (sys.executable, "-m", "kmem")


def test_words_for_numbers() -> None:
    assert [counted(count, "token") for count in (0, 1, 2000)] == ["0 tokens", "1 token", "2,000 tokens"]
    assert [human_bytes(count) for count in (0, 1023, 184320, 2**52)] == ["0 B", "1023 B", "180.0 KiB", "4.0 PiB"]
    assert [human_seconds(seconds) for seconds in (0.12, 95.2, 150, 9000)] == ["0.1 s", "95 s", "2 min", "2.5 h"]


def test_progress_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A JSON object a line, beside what the command answers; short work says nothing."""
    with progress_bars(quiet=False, lines=True) as progress:
        progress("read", 0, 1000)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(render, "LINE_EVERY_S", 0)
    times = iter([0.0, 0.0, 2.0, 3.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    with progress_bars(quiet=False, lines=True, units={"read": "bytes"}, otherwise="chunks") as progress:
        for stage, done, total in (("read", 100, 1000), ("read", 300, 1000), ("index", 7, 0)):
            progress(stage, done, total)
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(line) for line in err.splitlines()] == [
        {"stage": "read", "done": 100, "total": 1000, "per_s": 0.0, "left_s": None, "unit": "bytes"},
        {"stage": "read", "done": 300, "total": 1000, "per_s": 100.0, "left_s": 7, "unit": "bytes"},
        {"stage": "index", "done": 7, "total": None, "per_s": 0.0, "left_s": None, "unit": "chunks"},
    ]
    with progress_bars(quiet=True, lines=True) as progress:
        progress("read", 100, 1000)
    assert capsys.readouterr() == ("", "")


def test_documents_can_not_drive_the_terminal(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Red \x1b[31malarm\x07 \x9b2J about\tfoxes.\nSecond line.")
    options = ("--out", tmp_path / "bank", "--model", tiny_folder, "--profile", "uniform8", "--rules", "none")  # light drops such a text
    assert kmem("build", tmp_path / "a.txt", *options).code == 0
    shown = kmem("query", tmp_path / "bank", "foxes").out
    assert "alarm" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert "Second line" in shown.splitlines()[2]


def test_a_terminal_without_the_characters_shows_marks(bank_folder: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([*KMEM, "info", str(bank_folder)], capture_output=True, env=environment, check=True)
    assert done.stderr == b""
    assert b"uniform8" in done.stdout


def test_nothing_but_answers_is_printed(tiny_folder: Path, bank_folder: Path, tmp_path: Path) -> None:
    """Third-party bars and warnings stay quiet, also on standard error, and so do ours where nobody watches."""
    (tmp_path / "a.txt").write_text("A small text about foxes.")
    build = ("build", str(tmp_path / "a.txt"), "--out", str(tmp_path / "bank"), "--model", str(tiny_folder), "--profile", "uniform8")
    generate = ("generate", str(bank_folder), "--prompt", "What jumps?", "--compare", "--max-new-tokens", "3")
    for command in (build, generate):
        done = subprocess.run([*KMEM, *command], capture_output=True, text=True, check=True)
        assert not [line for line in done.stderr.splitlines() if not line.startswith('{"stage": ')]  # a build of over ten seconds tells


def test_output_into_a_pipe_that_closes(bank_folder: Path) -> None:
    done = subprocess.run(f"'{sys.executable}' -m kmem info '{bank_folder}' | true", shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(tiny_folder: Path, tmp_path: Path) -> None:
    sentences = [f"Sentence {number} of a long text, about number {number * 7}." for number in range(600)]
    (tmp_path / "a b.txt").write_text("\n\n".join(sentences))
    bank = tmp_path / "bank"
    command = [
        *KMEM,
        "build",
        str(tmp_path / "a b.txt"),
        "--out",
        str(bank),
        "--model",
        str(tiny_folder),
        "--profile",
        "uniform8",
        "--shard-rows",
        "2",
    ]
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background has it ignored
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    while process.poll() is None and not any((bank / "build" / "completions").glob("*")):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    *told, stopped = said.strip().splitlines()
    assert all(line.startswith('{"stage": ') for line in told)  # what takes seconds is told
    assert stopped.startswith(f"kmem: stopped; finished shards are kept in {bank}; go on with: kmem build '{tmp_path}/a b.txt'")
    assert stopped.endswith("--resume")


def test_tokens_break_where_the_text_breaks_and_where_the_line_ends() -> None:
    tokens = [KeptToken(text=text, heads=heads) for text, heads in (("one", 0), (" two", 12), ("\n", 0), (" three", 3), ("!", 100))]
    assert [[token.text for token in line] for line in lines(tokens, 80)] == [["one", " two", "\n"], [" three", "!"]]
    assert [[token.text for token in line] for line in lines(tokens, 6)] == [["one"], [" two", "\n"], [" three"], ["!"]]
