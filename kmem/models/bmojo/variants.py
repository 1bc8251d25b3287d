"""The variants, each as the mixers of its layers; all but `bmojo` and `bmojo_f` are controls."""

from kmem.errors import UnknownNameError

MIXERS = ("bmojo", "bmojo_f", "random_m", "oldest_m", "ssm", "swa", "swa_wide", "transformer", "conv")
"""What a layer can be, besides its MLP; see docs/bmojo.md."""

EIDETIC = ("bmojo", "random_m", "oldest_m")
"""Mixers that store tokens."""

WITHOUT_ATTENTION = ("ssm", "conv")

VARIANTS = (*(name for name in MIXERS if name != "conv"), "hybrid")


def mixers_of(variant: str, layers: int) -> list[str]:
    """Names of `layers` mixers: all alike, in `hybrid` ssm and swa in turn. Raises UnknownNameError."""
    if variant not in VARIANTS:
        raise UnknownNameError("variant", variant, VARIANTS)
    return [("ssm", "swa")[layer % 2] if variant == "hybrid" else variant for layer in range(layers)]
