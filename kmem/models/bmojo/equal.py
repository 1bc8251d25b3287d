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


def equal_to(shape: Mapping[str, Any], variant: str, numbers: int) -> BMojoConfig:
    """`variant` with `numbers` parameters, less or more half a channel of each MLP: as wide as the shape, and with as many layers as leaves
    its MLPs nearest to the shape's; their width is then what makes the sum.

    shape: arguments of BMojoConfig; variant, num_hidden_layers and intermediate_size are chosen here. Raises ConfigError where a
    single layer is too large already.
    """
    wanted = BMojoConfig(**shape).intermediate_size
    fitting: list[BMojoConfig] = []
    for layers in range(1, numbers):
        thin, thick = (_with(shape, variant, layers, width) for width in (1, 2))
        bare, channel = parameters(thin), parameters(thick) - parameters(thin)
        width = 1 + round((numbers - bare) / channel)
        if width < 1:
            break
        fitting.append(_with(shape, variant, layers, width))
    if not fitting:
        raise ConfigError(f"{variant} of this width has more than {numbers} parameters with one layer; give more, or a smaller vocabulary.")
    return min(fitting, key=lambda config: abs(config.intermediate_size - wanted))


def _with(shape: Mapping[str, Any], variant: str, layers: int, width: int) -> BMojoConfig:
    return BMojoConfig(**{**shape, "variant": variant, "num_hidden_layers": layers, "intermediate_size": width})
