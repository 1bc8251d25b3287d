"""Load a model and its tokenizer by name or path."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from kmem.encoder.anatomy import examine
from kmem.encoder.defaults import DEVICE, DTYPE, SMOLLM2
from kmem.encoder.fingerprint import tokenizer_digest
from kmem.encoder.smollm2 import smollm2_folder
from kmem.errors import ConfigError, IdentityMismatchError, ModelNotFoundError
from kmem.hub import only_local
from kmem.identity import Identity

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_dtype(name: str, device: str) -> str:
    """`auto` → bfloat16 on a GPU and on processors that multiply it natively, else float32; other names pass through."""
    if name != "auto":
        return name
    native = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if native else "float32"


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone, for whoever only shows tokens."""
    return _loading(name, "tokenizer", AutoTokenizer.from_pretrained)


def require_tokenizer(tokenizer: PreTrainedTokenizerBase, identity: Identity) -> None:
    """Raise IdentityMismatchError unless the tokenizer is the one of `identity` (the bank)."""
    here = tokenizer_digest(tokenizer)
    if here != identity.tokenizer:
        raise IdentityMismatchError(
            f"The bank was written by {identity.model!r} with tokenizer {identity.tokenizer}, this one is {here}: its tokens would be "
            "cut elsewhere. Name the model that wrote the bank (--model …)."
        )


def load_model(name: str, *, dtype: str = DTYPE, device: str = DEVICE) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """`smollm2` (bundled), a folder with a Hugging Face model, or a hub name → (model in eval mode, tokenizer).

    Raises ModelNotFoundError when nothing loads, UnsupportedModelError when the model can't hold memories, ConfigError on a bad
    dtype or a device that is not here.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"Unknown dtype {dtype!r}. Available: {', '.join(DTYPES)}.")
    _require_device(device)
    tokenizer = load_tokenizer(name)
    model = _loading(name, "model", partial(AutoModelForCausalLM.from_pretrained, dtype=DTYPES[dtype]))
    model.config._name_or_path = str(Path(name).resolve()) if name != SMOLLM2 and Path(name).exists() else name
    model = model.to(device).eval()
    examine(model)
    return model, tokenizer


def _require_device(name: str) -> None:
    """Raise ConfigError unless a tensor can be put there."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"Device {name!r} can't be used here ({reason}); give 'cpu', or 'cuda' where PyTorch finds a GPU.") from error


def _loading(name: str, what: str, load: Callable[..., Any]) -> Any:
    """Call `load` with the place of a named model; whatever transformers says becomes one sentence."""
    if name != SMOLLM2 and Path(name).exists() and not (Path(name) / "config.json").exists():
        raise ModelNotFoundError(f"{name} is not a model folder: it has no config.json.")
    place = str(smollm2_folder()) if name == SMOLLM2 else str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    local = only_local(place)
    try:
        with _without_progress_bar():
            return load(place, local_files_only=local)
    except Exception as error:  # tokenizers raises nothing narrower for a file cut short
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(".:")
        raise ModelNotFoundError(
            f"No {what} could be loaded from {name!r} ({reason}); give 'smollm2', a folder with config.json, tokenizer and safetensors, "
            "or a hub name that can be reached from here."
        ) from error


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Weights load in about a second; a bar for it is noise."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()
