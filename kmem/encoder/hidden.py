"""`hidden`: texts are found by the model's own hidden states; no second model (what Memory³ leaves to future work)."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.anatomy import examine
from kmem.encoder.bracket import start_tokens
from kmem.encoder.defaults import BATCH_SIZE
from kmem.encoder.fingerprint import architecture_digest, tokenizer_digest, weights_digest
from kmem.encoder.hook import base_attention, current_handler, handling, hooked
from kmem.errors import ConfigError

HIDDEN = "hidden"
DEPTH = 0.1
"""Share of the layers that are run (docs/decisions.md)."""
LEAST = np.float32(1e-6)
"""Lengths and spreads are at least this."""
QUERY_TOKENS = 64
"""The last tokens of a query that count: what a tick searches with."""
POOLING = "mean over tokens, the first left out, standardised by fixed sentences (1)"
SENTENCES = (
    "The committee will meet again in the spring to discuss the budget.",
    "A compiler translates source code into instructions that a processor runs.",
    "She walked along the river until the lights of the town were behind her.",
    "Water expands when it freezes, which is why ice floats.",
    "The treaty was signed in 1648 and ended thirty years of war.",
    "Add the flour slowly and stir until the dough is smooth.",
    "合同自双方签字之日起生效。",
    "春天来了,河边的柳树发出了新芽。",
)
"""The mean of their tokens is taken off every vector, which is then divided by their spread, number by number: a few numbers that are
large in all texts would outweigh what tells texts apart. Being fixed, they are the same for every bank of a model."""


class _LayerReached(Exception):
    """Leaves the forward pass before this layer."""


class _Plain:
    """The model's own attention, also while something is attached to the model."""

    materialise_mask = False

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        return base_attention(module)(module, query, key, value, mask, **options)


class HiddenStates:
    """A retriever whose vectors are what `layer` of `model` is given, averaged over a text's tokens, for passages and queries alike.

    layer: 0 to L − 1, by DEPTH unless given; the forward pass ends there. Raises ConfigError for another, UnsupportedModelError as
    `examine` does.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, layer: int | None = None, batch_size: int = BATCH_SIZE
    ) -> None:
        anatomy = examine(model)
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.layer = max(min(1, anatomy.layers - 1), int(DEPTH * anatomy.layers)) if layer is None else layer
        if not 0 <= self.layer < anatomy.layers:
            raise ConfigError(f"Hidden states are taken before a layer, so layer {layer} is none of a model that has {anatomy.layers}.")
        self._decoder: Any = anatomy.decoder
        self._start = start_tokens(tokenizer)
        self._special = frozenset(tokenizer.all_special_ids)

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Passages → [n, dim] float32 of length 1, in the order given. `progress` is told how many more texts are done."""
        return self.embed_tokens(self._tokens(texts), progress)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same of queries, of which the last 64 tokens count."""
        return self.embed_tokens([tokens[-QUERY_TOKENS:] for tokens in self._tokens(texts)])

    def embed_tokens(self, texts: Sequence[Sequence[int]], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """The same of texts that are token ids already; special tokens don't count."""
        pooled = self._pooled([[token for token in tokens if token not in self._special] for tokens in texts], progress)
        mean, spread = self._standard
        standard = (pooled - mean) / spread
        unit: NDArray[np.float32] = standard / np.linalg.norm(standard, axis=1, keepdims=True).clip(min=LEAST)
        return unit

    def identity(self) -> dict[str, Any]:
        """As a retriever's: model and tokenizer by their digests."""
        return {
            "name": HIDDEN,
            "dim": self._dim,
            "layer": self.layer,
            "pooling": POOLING,
            "architecture": architecture_digest(self.model),
            "weights": weights_digest(self.model),
            "tokenizer": tokenizer_digest(self.tokenizer),
        }

    @property
    def _dim(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    @cached_property
    def _standard(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """[dim] mean and standard deviation over the tokens of the fixed sentences, each read alone."""
        read = [
            self._states(torch.tensor([[*self._start, *tokens]], device=self.model.device))[0, 1:] for tokens in self._tokens(SENTENCES)
        ]
        states = torch.cat(read).float().cpu().numpy()
        return states.mean(axis=0), states.std(axis=0).clip(min=LEAST)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def _pooled(self, texts: Sequence[Sequence[int]], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """[n, dim] means over the tokens after the first, which most models use as a place to look at when there is nothing to see."""
        inputs = [[*self._start, *tokens] or [0] for tokens in texts]
        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]))
        pooled = np.zeros((len(inputs), self._dim), dtype=np.float32)
        for begin in range(0, len(order), self.batch_size):
            batch = order[begin : begin + self.batch_size]
            lengths = torch.tensor([len(inputs[index]) for index in batch], device=self.model.device)
            longest = int(lengths.max())
            padded = torch.tensor([[*inputs[index], *[0] * (longest - len(inputs[index]))] for index in batch], device=self.model.device)
            place = torch.arange(longest, device=self.model.device)[None]
            counted = (place < lengths[:, None]) & ((place > 0) | (lengths[:, None] == 1))
            states = self._states(padded).float() * counted[..., None]
            pooled[batch] = (states.sum(dim=1) / counted.sum(dim=1, keepdim=True)).cpu().numpy()
            if progress is not None:
                progress(len(batch))
        return pooled

    def _states(self, input_ids: Tensor) -> Tensor:
        """[B, T, dim] what the layer is given for input_ids [B, T]; padding comes last, where no real token looks."""
        found: list[Tensor] = []
        handler = _Plain()

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if current_handler() is handler:  # not another thread's pass
                found.append(args[0] if args else kwargs["hidden_states"])
                raise _LayerReached

        training = self.model.training
        registered = self._decoder.layers[self.layer].register_forward_pre_hook(note, with_kwargs=True)
        try:
            self.model.eval()
            with (
                torch.inference_mode(),
                torch.autocast(self.model.device.type, enabled=False),
                hooked(self.model),
                handling(handler),
                suppress(_LayerReached),
            ):
                self._decoder(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)
        finally:
            registered.remove()
            if training:
                self.model.train()
        return found[0]
