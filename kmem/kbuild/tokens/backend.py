"""Any tokenizer of the `tokenizers` library, asked without the wrapper of transformers."""

from typing import Any

from tokenizers import Tokenizer as Backend

from kmem.kbuild.tokens.meter import Measured, MeasuredByEnds

_OWN = {"__call__": "transformers.tokenization_utils_base", "_encode_plus": "transformers.tokenization_utils_tokenizers"}
"""Where transformers defines what a call of a fast tokenizer runs."""


def backend_of(tokenizer: Any) -> Backend | None:
    """A backend that gives what calling the tokenizer gives, or None where its class has a way of its own.

    It shares model and steps with the tokenizer's, and not the padding and truncation that others set on that one.
    """
    if any(getattr(getattr(type(tokenizer), name, None), "__module__", None) != module for name, module in _OWN.items()):
        return None
    theirs: Backend = tokenizer.backend_tokenizer
    ours = Backend(theirs.model)
    for step in ("normalizer", "pre_tokenizer", "post_processor"):
        if (found := getattr(theirs, step)) is not None:
            setattr(ours, step, found)
    ours.add_tokens([token for _, token in sorted(theirs.get_added_tokens_decoder().items())])
    ours.encode_special_tokens = bool(tokenizer.split_special_tokens)
    return ours


class BackendMeter:
    """Every count is a tokenisation."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def count(self, text: str) -> int:
        return len(self._backend.encode_batch_fast([text], add_special_tokens=False)[0])

    def ends(self, text: str) -> list[int]:
        """Where each token of the text ends, in characters."""
        return [end for _, end in self._backend.encode(text, add_special_tokens=False).offsets]

    def measure(self, text: str, prefix: str) -> Measured:
        return MeasuredByEnds(text, prefix, self.ends, self.count)
