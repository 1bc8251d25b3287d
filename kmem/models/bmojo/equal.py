"""Variants with as many parameters as one another, so that a comparison is of what they do with them."""

from collections.abc import Mapping
from typing import Any

import torch

from kmem.errors import ConfigError
from kmem.models.bmojo.causal_lm import BMojoForCausalLM
from kmem.models.bmojo.config import BMojoConfig


def parameters(config: BMojoConfig) -> int:
    """Numbers that are learnt; tied ones count once. No weights are made."""
    with torch.device("meta"):
        return sum(part.numel() for part in BMojoForCausalLM(config).parameters())


def equal_to(shape: Mapping[str, Any], variant: str, numbers: int, *, layers: int | None = None) -> BMojoConfig:
    """`variant` with `numbers` parameters, up to half a channel of each MLP, and as wide as the shape: the width of its MLPs makes the sum.

    shape: arguments of BMojoConfig; variant, num_hidden_layers and intermediate_size are chosen here. layers: None = as many as leave MLPs
    nearest to the shape's. Raises ConfigError where the layers are too large without an MLP already.
    """
    wanted = BMojoConfig(**shape).intermediate_size
    fitting: list[BMojoConfig] = []
    for count in (layers,) if layers else range(1, numbers):
        thin, thick = (parameters(_with(shape, variant, count, width)) for width in (1, 2))
        width = 1 + round((numbers - thin) / (thick - thin))
        if width < 1:
            break
        fitting.append(_with(shape, variant, count, width))
    if not fitting:
        said = f"{layers or 1} layers of {variant} in this width have more than {numbers} parameters without an MLP"
        raise ConfigError(f"{said}; give more, or a smaller vocabulary.")
    return min(fitting, key=lambda config: abs(config.intermediate_size - wanted))


def _with(shape: Mapping[str, Any], variant: str, layers: int, width: int) -> BMojoConfig:
    return BMojoConfig(**{**shape, "variant": variant, "num_hidden_layers": layers, "intermediate_size": width})
