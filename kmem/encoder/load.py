"""Load a model and its tokenizer by name or path."""

from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.anatomy import examine
from kmem.encoder.smollm2 import smollm2_folder
from kmem.errors import ConfigError, ModelNotFoundError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Dtype = Literal["float32", "bfloat16", "float16"]


def load_model(name: str, *, dtype: str = "float32", device: str = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """`smollm2` (bundled), a folder with a Hugging Face model, or a hub name → (model in eval mode, tokenizer).

    Raises ModelNotFoundError when nothing loads, UnsupportedModelError when the model can't hold memories, ConfigError on a bad dtype.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"Unknown dtype {dtype!r}. Available: {', '.join(DTYPES)}.")
    place = str(smollm2_folder()) if name == "smollm2" else name
    if name != "smollm2" and Path(name).exists() and not (Path(name) / "config.json").exists():
        raise ModelNotFoundError(f"{name} is not a model folder: it has no config.json.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=DTYPES[dtype])
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"No model could be loaded from {name!r}; give 'smollm2', a folder with config.json and safetensors, or a hub name "
            f"that can be reached from here ({str(error).splitlines()[0]})."
        ) from error
    if name == "smollm2":
        model.config._name_or_path = "smollm2"
    model = model.to(device).eval()
    examine(model)
    return model, tokenizer
