"""What of a model is trained, and the model as it was: LoRA by peft, or all weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from kmem.errors import ConfigError, MissingDependencyError
from kmem.training.memory.recipe import AdapterConfig


class Trained(Protocol):
    """parameters: by name, float32, what an optimiser may change."""

    parameters: dict[str, nn.Parameter]

    def untrained(self) -> Any:
        """A context that gives the model as it was before training."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was trained into a folder that is there."""
        ...


def trained(model: PreTrainedModel, config: AdapterConfig, *, seed: int) -> Trained:
    """Make the model trainable in place. Raises MissingDependencyError for LoRA without peft, ConfigError for targets it doesn't have."""
    return Lora(model, config, seed=seed) if config.kind == "lora" else Full(model)


class Lora:
    """peft's layers inside the model; its own weights are frozen. The second matrix begins at 0, so training begins at the model."""

    def __init__(self, model: PreTrainedModel, config: AdapterConfig, *, seed: int) -> None:
        try:
            import peft
        except ImportError as error:
            raise MissingDependencyError("Training an adapter needs peft, which is not installed: pip install 'kmem[train]'") from error
        present = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        unknown = [name for name in config.targets if name not in present]
        if unknown:
            raise ConfigError(f"adapter.targets names {', '.join(unknown)}; this model's linear layers are {', '.join(sorted(present))}.")
        self._model, self._peft = model, peft
        self._config = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # a factor, which need not be whole
            target_modules=list(config.targets),
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
            base_model_name_or_path=str(model.config._name_or_path),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(self._config, model)
        self.parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    @contextmanager
    def untrained(self) -> Iterator[PreTrainedModel]:
        """The same model with its adapter switched off."""
        layers = [module for module in self._model.modules() if isinstance(module, self._peft.tuners.tuners_utils.BaseTunerLayer)]
        for layer in layers:
            layer._disable_adapters = True  # peft's own switch also turns requires_grad off
        try:
            yield self._model
        finally:
            for layer in layers:
                layer._disable_adapters = False

    def save(self, folder: Path) -> None:
        """adapter_model.safetensors and adapter_config.json, as peft itself writes and reads them."""
        from safetensors.torch import save_file

        tensors = self._peft.get_peft_model_state_dict(self._model)
        save_file(
            {f"base_model.model.{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        self._config.inference_mode = True
        self._config.save_pretrained(str(folder))


class Full:
    """All weights; what the model was is kept beside it."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._before = deepcopy(model).requires_grad_(False)
        self._model = model.requires_grad_(True)
        self.parameters = dict(model.named_parameters())

    @contextmanager
    def untrained(self) -> Iterator[PreTrainedModel]:
        """The copy."""
        yield self._before

    def save(self, folder: Path) -> None:
        """A model folder of its own, as save_pretrained has it."""
        self._model.save_pretrained(folder)
