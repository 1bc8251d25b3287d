"""Models, devices and tokenizers that can't be used: one sentence, and the bundled model keeps its name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kmem.encoder import load
from kmem.encoder.load import load_model
from kmem.errors import ConfigError, ModelNotFoundError
from kmem.paths import make_cache_folder
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.tiny import byte_tokenizer, save_tiny_model


def test_a_device_that_is_not_here(kmem: Run, tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    options = ("build", tmp_path / "a.txt", "--out", tmp_path / "new", "--model", tiny_folder)
    refused(kmem(*options, "--device", "abacus"), "Device 'abacus'", "'cpu'")
    if not torch.cuda.is_available():
        refused(kmem(*options, "--device", "cuda"), "Device 'cuda'", "'cpu'")
    with pytest.raises(ConfigError, match="Device 'cuda:99'"):
        load_model(str(tiny_folder), device="cuda:99")
    assert not (tmp_path / "new").exists()


def test_what_is_wrong_is_told_before_torch_and_transformers_are_imported(tmp_path: Path, bank_folder: Path) -> None:
    """In a process of its own, whose modules say what was imported."""
    (tmp_path / "a.txt").write_text("text")
    build = ["build", str(tmp_path / "a.txt"), "--out", str(tmp_path / "new")]
    wrong = (
        ([*build, "--limit", "0"], "limit must be at least 1"),
        ([*build, "--device", "abacus"], "Device 'abacus'"),
        (["generate", str(bank_folder), "--prompt", "x", "--device", "abacus"], "Device 'abacus'"),
        (["append", str(bank_folder), str(tmp_path / "a.txt"), "--limit", "0"], "limit must be at least 1"),
        (["show", str(bank_folder), "12"], "12"),
    )
    program = (
        "import sys\nfrom kmem.cli.main import main\n"
        f"for arguments in {[arguments for arguments, _ in wrong]!r}:\n"
        "    sys.argv = ['kmem', *arguments]\n"
        "    try:\n        main()\n"
        "    except SystemExit as error:\n        print(error.code, *(name in sys.modules for name in ('torch', 'transformers')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["2 False False"] * 4 + ["2 True False"]  # opening a bank takes torch
    for sentence, (_, words) in zip(done.stderr.splitlines(), wrong, strict=True):
        assert words in sentence


def test_weights_cut_short_or_of_another_shape(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    weights, configuration = folder / "model.safetensors", folder / "config.json"
    whole = weights.read_bytes()
    for length in (len(whole) // 2, 4, 0):
        weights.write_bytes(whole[:length])
        with pytest.raises(ModelNotFoundError, match="No model could be loaded"):
            load_model(str(folder))
    weights.write_bytes(whole)
    configuration.write_text(configuration.read_text().replace('"intermediate_size": 48', '"intermediate_size": 56'))
    with pytest.raises(ModelNotFoundError, match="No model could be loaded"):
        load_model(str(folder))


def test_a_tokenizer_cut_short_and_a_model_that_moved(kmem: Run, bank_folder: Path, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:200])
    refused(kmem("generate", bank_folder, "--prompt", "x", "--model", folder), "No tokenizer could be loaded", str(folder))
    refused(kmem("generate", bank_folder, "--prompt", "x", "--model", tmp_path / "moved"), "no model folder", "moved", "where it is now")


def test_a_cache_that_can_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set KMEM_CACHE to a folder"):
        make_cache_folder("models")
    with pytest.raises(ConfigError, match="set KMEM_CACHE to a folder"):
        load_model("smollm2")


def test_a_folder_named_smollm2_is_not_the_bundled_model(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "packaged_folder", lambda _: tiny_folder)
    model, _ = load_model("smollm2")
    assert model.config._name_or_path == "smollm2"


def test_show_wants_the_tokenizer_of_the_bank(kmem: Run, bank_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    memory = json.loads(kmem("query", bank_folder, "fox", "--json").out)["hits"][0]["id"]
    other = save_tiny_model(tmp_path / "other")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["fox"])
    tokenizer.save_pretrained(other)
    refused(kmem("show", bank_folder, memory, "--model", other), "tokenizer", str(tiny_folder), "--model")
    assert kmem("show", bank_folder, memory, "--model", tiny_folder).code == 0


def test_info_names_the_begin_token_and_the_precision(kmem: Run, bank_folder: Path) -> None:
    shown = kmem("info", bank_folder).out
    assert "encoded in" in shown
    assert "bracket's tokens" in shown
