"""Rows of a batch stand at the same position: chunks, and with them what is stored, are counted from a row's first token."""

from torch import Tensor

from kmem.errors import ConfigError


def require_even_rows(mask: Tensor | None, *, cached: bool) -> None:
    """mask: [B, n] attention mask or None. Raises ConfigError for padding before or between tokens, and where cached for any.

    Padding behind the tokens is seen by none of them, so without a cache it does no harm.
    """
    if mask is None or bool(mask.all()):
        return
    if mask.ndim != 2:
        raise ConfigError(f"B'MOJO takes an attention mask of rows and tokens, not one of {mask.ndim} dimensions.")
    if cached or bool((mask[:, 1:] > mask[:, :-1]).any()):
        raise ConfigError("B'MOJO reads and generates rows of one length: batch prompts of equal length, or give them one by one unpadded.")
