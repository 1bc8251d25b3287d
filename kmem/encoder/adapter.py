"""Adapters: what `kmem train memory` writes, added to a model's weights when it is loaded, so that nothing is slower for it.

The files are peft's (adapter_config.json, adapter_model.safetensors), and a plain LoRA of another's making is read, too; peft itself is
needed to train one only.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from kmem.encoder.fingerprint import architecture_digest, weights_digest
from kmem.errors import CheckpointError, ConfigError, IdentityMismatchError, ModelNotFoundError

CONFIG, WEIGHTS, ABOUT, PROFILE = "adapter_config.json", "adapter_model.safetensors", "kmem.json", "profile.json"
PREFIX = "base_model.model."
UNREADABLE = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out", "lora_bias", "target_parameters")
"""Options of peft that change what a LoRA means, and that kmem's never have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """parts: by the name of a linear layer, A [r, in] and B [out, r], of which scale · B A is added to its weight. about: what kmem wrote
    beside it, empty for others' adapters. digest: of its numbers.
    """

    folder: Path
    scale: float
    parts: dict[str, tuple[Tensor, Tensor]]
    about: dict[str, Any]

    @property
    def profile(self) -> Path | None:
        """The file of the profile it was trained for, None where there is none."""
        return file if (file := self.folder / PROFILE).exists() else None

    @property
    def digest(self) -> str:
        found = hashlib.sha256(repr(self.scale).encode())
        for name, part in sorted(self.parts.items()):
            for tensor in part:
                found.update(f"{name} {tuple(tensor.shape)}".encode())
                found.update(tensor.float().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]


def read_adapter(name: str) -> Adapter:
    """The adapter of a folder.

    Raises ModelNotFoundError where there is none, ConfigError for one that isn't a plain LoRA, CheckpointError for damage.
    """
    folder = Path(name).expanduser().resolve()
    if not (folder / CONFIG).exists():
        whole = (folder / "config.json").exists()
        said = "it is a model of its own: name it with --model" if whole else f"it has no {CONFIG}: name a folder of kmem train memory"
        raise ModelNotFoundError(f"There is no adapter in {folder}: {said}.")
    try:
        config = json.loads((folder / CONFIG).read_text())
        about = json.loads((folder / ABOUT).read_text()) if (folder / ABOUT).exists() else {}
        tensors = load_file(folder / WEIGHTS)
        _require_plain(folder, config)
        rank = float(config["r"])
        scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
        layers = [key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")]
        parts = {key.removeprefix(PREFIX): (tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"]) for key in layers}
        if not parts or len(tensors) != 2 * len(parts):
            raise ValueError("it holds tensors that are no pairs of a LoRA")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise
        raise CheckpointError(f"The adapter in {folder} is damaged ({error}); train it again.") from error
    return Adapter(folder=folder, scale=scale, parts=parts, about=about)


def _require_plain(folder: Path, config: dict[str, Any]) -> None:
    unusual = [name for name in UNREADABLE if config.get(name)]
    if config.get("bias", "none") != "none":
        unusual.append("bias")
    if config.get("peft_type") != "LORA" or unusual:
        said = f"a LoRA with {', '.join(unusual)}" if unusual else f"of the kind {config.get('peft_type')}"
        raise ConfigError(f"The adapter in {folder} is {said}; kmem reads plain LoRAs (merge it with peft, and name the model).")


def add_adapter(model: PreTrainedModel, adapter: Adapter) -> None:
    """Add it to the weights of a float32 model, in place, and mark the model with it.

    Raises IdentityMismatchError for another model than the one it was trained on, ConfigError where layers or their shapes differ.
    """
    base = adapter.about.get("base", {})
    here = {"architecture": architecture_digest(model), "weights": weights_digest(model)}
    differing = [f"{name}: adapter {base[name]}, here {value}" for name, value in here.items() if name in base and base[name] != value]
    if differing:
        raise IdentityMismatchError(
            f"The adapter {adapter.folder} was trained on {base.get('model')!r} and doesn't belong to {model.config._name_or_path!r} "
            f"({'; '.join(differing)}); load the model that it was trained on, or train one for this."
        )
    layers = dict(model.named_modules())
    with torch.no_grad():
        for name, (first, second) in adapter.parts.items():
            layer = layers.get(name)
            shape = tuple(layer.weight.shape) if isinstance(layer, nn.Linear) else None
            if not isinstance(layer, nn.Linear) or shape != (second.shape[0], first.shape[1]):
                raise ConfigError(
                    f"The adapter {adapter.folder} is for a layer {name} of shape {(second.shape[0], first.shape[1])}, and this model's is "
                    f"{shape or 'not there'}; load the model that it was trained on."
                )
            layer.weight.add_((second.float() @ first.float()).to(layer.weight.device), alpha=adapter.scale)
    model.kmem_adapter = adapter.digest
