"""From a mixer's name to the module."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from kmem.kernels.chunked_window import Window
from kmem.models.bmojo.attention import BMojoAttention
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.convolution import ConvolutionMixer
from kmem.models.bmojo.fading import FadingMemory
from kmem.models.bmojo.full import FullAttention
from kmem.models.bmojo.ranking import Ranking
from kmem.models.bmojo.variants import EIDETIC, WITHOUT_ATTENTION

_WITHOUT_ATTENTION: dict[str, Callable[[BMojoConfig], nn.Module]] = {"ssm": FadingMemory, "conv": ConvolutionMixer}


def mixer(config: BMojoConfig, layer: int) -> nn.Module:
    """The mixer of one layer: [B, T, C], a State and how many tokens came before → [B, T, C] and the State after.

    Those that attend are given rotary `position_embeddings` by name, too, and whether the text `goes_on` after this call.
    """
    name = config.mixers[layer]
    if name in _WITHOUT_ATTENTION:
        return _WITHOUT_ATTENTION[name](config)
    layer_idx = sum(before not in WITHOUT_ATTENTION for before in config.mixers[:layer])
    if name == "transformer":
        return FullAttention(config, layer_idx)
    near = Window(width=config.window, chunk=config.chunk)
    faded = replace(near, fading=config.fading or 0)
    if name == "swa":
        return BMojoAttention(config, layer_idx, near, None)
    if name == "swa_wide":
        return BMojoAttention(config, layer_idx, replace(near, width=config.window + (config.eidetic or 0)), None)
    if name == "bmojo_f":
        return BMojoAttention(config, layer_idx, replace(faded, sliding=True), None)
    rules = dict(zip(EIDETIC, (config.innovation, "random", "oldest"), strict=True))
    ranking = Ranking(rule=rules[name], layer=layer, average_tokens=config.average_tokens, threshold=config.threshold)
    return BMojoAttention(config, layer_idx, faded, ranking)
