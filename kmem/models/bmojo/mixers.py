"""From a mixer's name to the module."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from kmem.kernels.chunked_window import Window
from kmem.models.bmojo.attention import BMojoMixer
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.convolution import ConvolutionMixer
from kmem.models.bmojo.fading import FadingMemory
from kmem.models.bmojo.full import FullAttention
from kmem.models.bmojo.ranking import Ranking
from kmem.models.bmojo.variants import EIDETIC

_PLAIN: dict[str, Callable[[BMojoConfig, int], nn.Module]] = {"ssm": FadingMemory, "transformer": FullAttention, "conv": ConvolutionMixer}


def mixer(config: BMojoConfig, layer: int) -> nn.Module:
    """The mixer of one layer: [B, T, C], a State and how many tokens came before → [B, T, C] and the State after."""
    name = config.mixers[layer]
    if name in _PLAIN:
        return _PLAIN[name](config, layer)
    near = Window(width=config.window, chunk=config.chunk)
    faded = replace(near, fading=config.fading or 0)
    if name == "swa":
        return BMojoMixer(config, near, None)
    if name == "swa_wide":
        return BMojoMixer(config, replace(near, width=config.window + (config.eidetic or 0)), None)
    if name == "bmojo_f":
        return BMojoMixer(config, replace(faded, sliding=True), None)
    rules = dict(zip(EIDETIC, (config.innovation, "random", "oldest"), strict=True))
    ranking = Ranking(rule=rules[name], layer=layer, average_tokens=config.average_tokens, threshold=config.threshold)
    return BMojoMixer(config, faded, ranking)
