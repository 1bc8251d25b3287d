"""What a B'MOJO model is made of."""

from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from kmem.arguments import require_count
from kmem.errors import ConfigError, UnknownNameError
from kmem.kernels.chunked_window import Window
from kmem.models.bmojo.innovation import PREDICTORS
from kmem.models.bmojo.variants import EIDETIC, MIXERS, mixers_of

COUNTS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "average_tokens", "retrieve"),
    *("state_size", "state_groups", "state_expand", "conv_kernel"),
)
"""What there must be one of at least."""


@strict
class BMojoConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """Sizes in tokens unless they say otherwise. Raises ConfigError and UnknownNameError for what can't be built.

    variant: one of variants.VARIANTS, which makes `mixers`, one name of variants.MIXERS a layer; given themselves, they are what counts.
    num_key_value_heads 0 = as many as query heads; head_dim 0 = hidden_size shared out; state_heads 0 = of 64 channels each.
    window, chunk, fading: see kernels.chunked_window.Window; fading None = as many as the window.
    eidetic: the most tokens a layer stores, None = it grows without end. threshold: only tokens whose innovation is above it are stored,
    None = all are, and compete. With neither, every token is stored in the end.
    innovation: what predicts a token, `average` (of the `average_tokens` before it) or `state` (the fading memory's last read-out).
    reach: a stored key is never rotated to farther back than so many tokens before the chunk that reads it, None = it keeps its position.
    retrieve_above: stored tokens beyond which each query reads only about `retrieve` of them; None = never.
    intermediate_size: of the SwiGLU behind each mixer, 0 = none. rope_base: None = no positions.
    tie_fading: keys and values of read-outs by the same projections as those of tokens.
    """

    model_type = "bmojo"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 32_000
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 1_408
    variant: str = "bmojo"
    mixers: list[str] | tuple[str, ...] = ()
    window: int = 128
    chunk: int = 64
    fading: int | None = None
    tie_fading: bool = True
    eidetic: int | None = 64
    threshold: float | None = None
    innovation: str = "average"
    average_tokens: int = 4
    reach: int | None = None
    retrieve_above: int | None = None
    retrieve: int = 256
    rope_base: float | None = 10_000.0
    state_size: int = 64
    state_heads: int = 0
    state_groups: int = 1
    state_expand: int = 2
    conv_kernel: int = 4
    time_step_min: float = 0.001
    time_step_max: float = 0.1
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: object) -> None:  # what transformers hands over
        _require_known(kwargs)
        for name in COUNTS:
            require_count(getattr(self, name), name)
        if not self.head_dim and self.hidden_size % self.num_attention_heads:
            heads = f"num_attention_heads must divide hidden_size, but {self.num_attention_heads} doesn't divide {self.hidden_size}"
            raise ConfigError(f"{heads}; head_dim lets heads be of any size.")
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        self.fading = self.window if self.fading is None else self.fading
        self.state_heads = self.state_heads or max(1, self.state_expand * self.hidden_size // 64)
        self.mixers = list(self.mixers or mixers_of(self.variant, self.num_hidden_layers))
        Window(width=self.window, chunk=self.chunk, fading=self.fading)  # raises where sizes can't be
        self._require_sizes()
        self._require_store()
        super().__post_init__(**kwargs)

    def _require_sizes(self) -> None:
        for name in self.mixers:
            if name not in MIXERS:
                raise UnknownNameError("mixer", name, MIXERS)
        if len(self.mixers) != self.num_hidden_layers:
            raise ConfigError(f"{len(self.mixers)} mixers were given for {self.num_hidden_layers} layers: name one a layer.")
        inner = self.state_expand * self.hidden_size
        for whole, part, name in (
            (self.num_attention_heads, self.num_key_value_heads, "num_key_value_heads must divide num_attention_heads"),
            (inner, self.state_heads, "state_heads must divide state_expand · hidden_size"),
            (self.state_heads, self.state_groups, "state_groups must divide state_heads"),
        ):
            if whole % part:
                raise ConfigError(f"{name}, but {part} doesn't divide {whole}.")
        if self.rope_base is not None and self.head_dim % 2:
            raise ConfigError(f"Rotary positions need an even head_dim, not {self.head_dim}; rope_base=None goes without.")

    def _require_store(self) -> None:
        if self.innovation not in PREDICTORS:
            raise UnknownNameError("innovation", self.innovation, PREDICTORS)
        if self.innovation == "state" and self.fading == 0:
            raise ConfigError("innovation='state' predicts from the fading memory, which needs fading keys: give fading above 0.")
        if self.threshold is not None and not isfinite(self.threshold):
            raise ConfigError(f"threshold must be a number, not {self.threshold}; None lets all tokens compete, bmojo_f stores nothing.")
        if self.reach is not None and self.reach < 0:
            raise ConfigError(f"reach must be 0 or more tokens, not {self.reach}; None lets stored keys keep their positions.")
        if self.eidetic is not None and self.eidetic < 1:
            raise ConfigError(f"eidetic must be at least 1, not {self.eidetic}; the variant bmojo_f stores nothing.")
        for name in (*EIDETIC[1:], "swa_wide"):
            if self.eidetic is None and name in self.mixers:
                raise ConfigError(f"{name} needs to know how many tokens a store holds: give eidetic.")


def _require_known(others: Iterable[str]) -> None:
    """Of names that are none of ours transformers keeps all; raise ConfigError for one that looks like a slip."""
    for name in others:
        nearest = get_close_matches(name, [own.name for own in fields(BMojoConfig)], n=1, cutoff=0.85)
        if nearest:
            raise ConfigError(f"BMojoConfig has no {name}; did you mean {nearest[0]}?")
