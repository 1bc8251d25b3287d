"""Load a model and its tokenizer by name or path."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights
from transformers.utils import logging as hf_logging

import kmem.models.bmojo  # noqa: F401  # the Auto classes are to know it
from kmem.arguments import require_name
from kmem.encoder.adapter import Adapter, add_adapter, read_adapter
from kmem.encoder.anatomy import examine
from kmem.encoder.defaults import AUTO, DEVICE, DTYPE
from kmem.encoder.fingerprint import tokenizer_digest
from kmem.encoder.named import parted, with_adapter
from kmem.encoder.packaged import PACKAGED, packaged_folder
from kmem.encoder.presets import PREFIX
from kmem.encoder.seeded import preset_tokenizer, seeded_model
from kmem.errors import ConfigError, IdentityMismatchError, ModelNotFoundError, UnknownNameError
from kmem.hub import located
from kmem.identity import Identity

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone, for whoever only shows tokens. Raises ModelNotFoundError."""
    name, _ = parted(name)
    if name.startswith(PREFIX):
        return preset_tokenizer(name.removeprefix(PREFIX))
    return _loading(name, _place(name), "tokenizer", AutoTokenizer.from_pretrained)


def require_tokenizer(tokenizer: PreTrainedTokenizerBase, identity: Identity) -> None:
    """Raise IdentityMismatchError unless the tokenizer is the one of `identity` (the bank)."""
    here = tokenizer_digest(tokenizer)
    if here != identity.tokenizer:
        raise IdentityMismatchError(
            f"The bank was written by {identity.model!r} with tokenizer {identity.tokenizer}, this one is {here}: its tokens would be "
            "cut elsewhere; name the model that wrote the bank (--model …)."
        )


def load_model(
    name: str, *, adapter: str | None = None, dtype: str = DTYPE, device: str = DEVICE
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """`smollm2` or `gemma3-270m` (packaged.py), `preset:NAME` (presets.py), a Hugging Face model folder, or a hub name → (model in
    eval mode, tokenizer).

    adapter: a folder that `kmem train memory` wrote, added to the weights in float32; `NAME + FOLDER` as the name is the same, and what the
    model is called from then on. dtype: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU and on processors that multiply it natively.
    Raises ModelNotFoundError when nothing loads, UnsupportedModelError when the model can't hold memories, UnknownNameError on a bad
    dtype or preset, ConfigError on a device that is not here; of an adapter, what `read_adapter` and `add_adapter` raise.
    """
    require_name(name, "The model")
    require_device(device)
    found = precision(dtype, device)
    base, folder = parted(with_adapter(name, adapter))
    if folder is not None:
        return _adapted(base, read_adapter(folder), found, device)
    if name.startswith(PREFIX):
        tokenizer = load_tokenizer(name)
        return seeded_model(name.removeprefix(PREFIX), dtype=found, device=device), tokenizer
    place = _place(name)  # once: without internet the hub takes seconds not to answer
    tokenizer = _loading(name, place, "tokenizer", AutoTokenizer.from_pretrained)
    model = _loading(name, place, "model", partial(AutoModelForCausalLM.from_pretrained, dtype=found))
    model.config._name_or_path = name if name in PACKAGED else place[0]
    model = model.to(device).eval()
    examine(model)
    return model, tokenizer


def _adapted(base: str, adapter: Adapter, dtype: torch.dtype, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Added in float32, whatever the precision afterwards: so a model's identity doesn't depend on it."""
    model, tokenizer = load_model(base, dtype="float32")
    add_adapter(model, adapter)
    model.config._name_or_path = with_adapter(str(model.config._name_or_path), str(adapter.folder))
    return model.to(device=device, dtype=dtype), tokenizer


def load_outline(name: str) -> PreTrainedModel:
    """The model without numbers, on device `meta`: of what `load_model` would load, the configuration alone is read. Raises the same."""
    require_name(name, "The model")
    name, _ = parted(name)
    if name.startswith(PREFIX):
        return seeded_model(name.removeprefix(PREFIX), device="meta")
    model: PreTrainedModel = _loading(name, _place(name), "configuration", _outline)
    examine(model)
    return model


def _outline(place: str, *, local_files_only: bool) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(place, local_files_only=local_files_only)
    with torch.device("meta"), no_init_weights():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def precision(name: str, device: str) -> torch.dtype:
    """The dtype of that name, `auto` being bfloat16 on a GPU and on processors that multiply it natively; raises UnknownNameError."""
    if name == AUTO:
        native = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    if name not in DTYPES:
        raise UnknownNameError("dtype", name, [AUTO, *DTYPES])
    return DTYPES[name]


def require_device(name: str) -> None:
    """Raise ConfigError unless a tensor can be put there."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].partition(", ")[0]  # torch goes on with a list of all it ever knew
        raise ConfigError(f"Device {name!r} can't be used here ({reason}); give 'cpu', or 'cuda' where PyTorch finds a GPU.") from error


def _place(name: str) -> tuple[str, bool]:
    """Where to load a named model from, and whether only from this machine."""
    if name in PACKAGED:
        return str(packaged_folder(name)), True
    place, local = located(name)
    if Path(place).is_absolute() and not (Path(place) / "config.json").exists():
        raise ModelNotFoundError(f"{name} is not a model folder: it has no config.json; give the folder that save_pretrained wrote.")
    return place, local


def _loading(name: str, place: tuple[str, bool], what: str, load: Callable[..., Any]) -> Any:
    """Call `load` with the `_place` of a named model; whatever transformers says becomes one sentence."""
    folder, local = place
    try:
        with _without_progress_bar():
            return load(folder, local_files_only=local)
    except MemoryError:
        raise
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
