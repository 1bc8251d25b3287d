"""How long what is written and read is: the remaining letters of Memory³'s App. A, and how often a text retrieves (§3.5, §7.5)."""

from dataclasses import dataclass, fields

from kmem.arguments import require_count
from kmem.kstore.defaults import TOP_K
from kmem.profile import SPAN_TOKENS
from kmem.runtime.defaults import EVERY_TOKENS


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens, all of them; `top_k` counts the memories that a chunk reads.

    reference: l_ref. chunk: l_chunk, between two retrievals. training: l_train, of a training sequence. prompt, new: of the text whose
    cost memories are compared with. Raises ConfigError for a count under 1.
    """

    reference: int = SPAN_TOKENS
    chunk: int = EVERY_TOKENS
    training: int = 2048
    prompt: int = 128
    new: int = 128
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        for entry in fields(self):
            require_count(getattr(self, entry.name), entry.name)

    @property
    def prompt_chunks(self) -> int:
        return -(-self.prompt // self.chunk)

    @property
    def chunks(self) -> int:
        """Chunks of prompt and generated text, each reading `top_k` memories."""
        return self.prompt_chunks + -(-self.new // self.chunk)

    @property
    def retrievals(self) -> int:
        """The first generated chunk inherits what the last prompt chunk reads: 2·128/64 − 1 = 3 (§7.5)."""
        return self.chunks - 1
