"""Exact token counts, by the fastest way that is known to be exact for the tokenizer at hand."""

from kmem.kbuild.tokens.meter import Meter, NaiveMeter, Tokenizer

__all__ = ["Meter", "NaiveMeter", "Tokenizer", "meter_for"]


def meter_for(tokenizer: Tokenizer) -> Meter:
    """By words where the tokenizer provably works word by word, else by its backend, else by calling it.

    Raises UnsupportedModelError for a tokenizer without character offsets.
    """
    naive = NaiveMeter(tokenizer)
    from kmem.kbuild.tokens.backend import BackendMeter, backend_of
    from kmem.kbuild.tokens.words import word_meter

    backend = backend_of(tokenizer)
    if backend is None:
        return naive
    direct = BackendMeter(backend)
    return word_meter(backend, direct) or direct
