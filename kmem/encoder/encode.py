"""The encoder: reference texts → memories, through the model's own layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import record_function
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.arguments import require_count
from kmem.encoder.anatomy import examine
from kmem.encoder.bracket import bracket_of, encode_bracket
from kmem.encoder.capture import Projections, run_prefix
from kmem.encoder.defaults import BATCH_SIZE
from kmem.encoder.fingerprint import identify
from kmem.encoder.hook import hooked
from kmem.encoder.keep import gather_slots, keep_positions
from kmem.encoder.profiles import require_shape
from kmem.encoder.rope import unrotate
from kmem.encoder.rotation import rotated_layers
from kmem.encoder.select import LayerView, selector
from kmem.errors import ConfigError, WrongTypeError
from kmem.identity import content_id
from kmem.memories import Memories, MemorySpec
from kmem.profile import SPAN_TOKENS, Profile

SELECTING = "kmem.select"
"""What a profiler calls the choice of tokens."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """batch_size: references a forward pass; part of what decides the last bits of a stored number, so a bank records it."""

    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        require_count(self.batch_size, "batch_size")


class Encoder:
    """Writes memories with `model` under `profile` (Memory³ §3.3).

    Raises UnsupportedModelError for a model that can't hold memories, ConfigError when the profile has another shape than the model.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, profile: Profile, config: EncoderConfig | None = None
    ) -> None:
        anatomy = examine(model)
        require_shape(profile, anatomy.layers, anatomy.heads)
        self.model, self.tokenizer, self.profile = model, tokenizer, profile
        self.config = config or EncoderConfig()
        self.score = selector(profile.selector)
        self.bracket = bracket_of(profile, tokenizer)
        self.rotated = rotated_layers(model, anatomy, profile.last_layer)
        self.spec = MemorySpec(
            profile=profile,
            identity=identify(model, tokenizer, profile, self.bracket),
            bracket=encode_bracket(model, self.bracket, anatomy),
            head_dim=anatomy.head_dim,
            bracket_tokens=(*self.bracket.prefix, *self.bracket.suffix),
        )

    def encode(
        self, references: Sequence[str], ids: Sequence[int] | None = None, *, progress: Callable[[int], None] | None = None
    ) -> Memories:
        """Memories of reference texts of 1 to 128 tokens each, in order; ids default to hashes of the texts.

        `progress` is told how many references are done after every batch. Raises WrongTypeError for a single string, ConfigError as
        `encode_tokens` does.
        """
        if isinstance(references, str):
            raise WrongTypeError("Encoder.encode takes a list of references, not one string; put it in a list.")
        tokens = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in references]
        return self.encode_tokens(tokens, ids if ids is not None else [content_id(text) for text in references], progress=progress)

    def encode_tokens(
        self, references: Sequence[Sequence[int]], ids: Sequence[int], *, progress: Callable[[int], None] | None = None
    ) -> Memories:
        """The same for references already cut into token ids.

        Similar lengths share a batch, so the batches depend on the references alone. Raises ConfigError on an empty or overlong
        reference, and unless there are as many ids.
        """
        if len(ids) != len(references):
            raise ConfigError(f"There are {len(references)} references but {len(ids)} ids; give one each.")
        for index, tokens in enumerate(references):
            if not 1 <= len(tokens) <= SPAN_TOKENS:
                raise ConfigError(
                    f"Reference {index} has {len(tokens)} tokens; a memory holds 1 to {SPAN_TOKENS}; kmem build cuts longer texts."
                )
        order = sorted(range(len(references)), key=lambda index: len(references[index]))
        size = self.config.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        slots, dim = self.profile.slots, self.spec.head_dim
        kv = torch.empty(len(references), 2, slots, dim, dtype=self.model.dtype)
        slot_position = torch.empty(len(references), slots, dtype=torch.uint8)
        done = 0
        with hooked(self.model):  # once, not a batch
            for batch in batches:
                kv[batch], slot_position[batch] = self._encode_batch([references[i] for i in batch], tuple(ids[i] for i in batch))
                done += len(batch)
                if progress is not None:
                    progress(done)
        lengths = torch.tensor([len(tokens) for tokens in references], dtype=torch.long)
        return Memories(kv=kv, slot_position=slot_position, lengths=lengths, ids=tuple(ids), spec=self.spec)

    def each_layer(
        self,
        references: Sequence[Sequence[int]],
        ids: Sequence[int],
        receive: Callable[[LayerView], None],
        *,
        heads: Sequence[Sequence[int]] | None = None,
        learning: bool = False,
    ) -> None:
        """Run one batch of B references, given as token ids, and hand every layer's view of them to `receive`, in order.

        heads: for each of the L layers the key-value heads to look at, ascending, all unless told otherwise; a layer of none is left out.
        learning: rotated keys and values have a gradient where the caller's context allows one; what a selector goes by never has.
        """
        prefix = self.bracket.prefix
        longest = max(map(len, references))
        input_ids, positions = [], []
        for tokens in references:
            padding = longest - len(tokens)
            input_ids.append([*prefix, *tokens, *[0] * padding])
            positions.append([*self.bracket.prefix_positions(), *self.bracket.chunk_positions(len(tokens)), *[0] * padding])
        device = self.model.device
        lengths = torch.tensor([len(tokens) for tokens in references], device=device)
        valid = torch.arange(longest, device=device) < lengths[:, None]
        every = tuple(range(self.profile.heads))

        def look(projections: Projections) -> None:
            wanted = every if heads is None else tuple(heads[projections.layer])
            if wanted:
                with record_function(SELECTING):
                    receive(_reference_view(projections, len(prefix), valid, tuple(ids), wanted, rotated=self.rotated[projections.layer]))

        tokens_in = torch.tensor(input_ids, device=device)
        run_prefix(
            self.model,
            tokens_in,
            torch.ones_like(tokens_in),  # padding comes last, where no real token looks: the causal kernel needs no mask for it
            torch.tensor(positions, device=device),
            last_layer=self.profile.last_layer,
            receive=look,
            learning=learning,
        )

    def _encode_batch(self, references: Sequence[Sequence[int]], ids: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """→ kv [B, 2, S, D] and slot_position [B, S]."""
        keys, values, kept = [], [], []

        def keep(view: LayerView) -> None:
            budget = [self.profile.budget[view.layer][head] for head in view.heads]
            positions = keep_positions(self.score(view), view.valid, budget)
            slot_head = torch.tensor([row for row, tokens in enumerate(budget) for _ in range(tokens)], device=positions.device)
            keys.append(gather_slots(view.rotated_key, positions, slot_head))
            values.append(gather_slots(view.value, positions, slot_head))
            kept.append(positions)

        self.each_layer(references, ids, keep, heads=kept_heads(self.profile))
        return torch.stack([torch.cat(keys, dim=1), torch.cat(values, dim=1)], dim=1).cpu(), torch.cat(kept, dim=1).cpu()


def kept_heads(profile: Profile) -> list[list[int]]:
    """For each of the L layers the key-value heads that keep any token, ascending."""
    return [[head for head, tokens in enumerate(row) if tokens] for row in profile.budget]


def _reference_view(
    projections: Projections, prefix_tokens: int, valid: Tensor, ids: tuple[int, ...], heads: tuple[int, ...], *, rotated: bool
) -> LayerView:
    """The part of a layer's projections that belongs to the reference and to these heads, rotated back for the selector."""
    reference = slice(prefix_tokens, None)
    rotated_query, rotated_key, value = (
        _of_heads(states[:, :, reference], heads, projections.key.shape[1])
        for states in (projections.query, projections.key, projections.value)
    )
    query, key = rotated_query.detach(), rotated_key.detach()
    if rotated:
        query, key = unrotate(projections.module, query, key, projections.cos[:, reference], projections.sin[:, reference])
    wide = torch.promote_types(query.dtype, torch.float32)
    return LayerView(
        layer=projections.layer,
        heads=heads,
        query=query.to(wide),
        key=key.to(wide),
        rotated_query=rotated_query,
        rotated_key=rotated_key,
        value=value,
        hidden=projections.hidden[:, reference].detach(),
        valid=valid,
        scaling=projections.scaling,
        chunk_ids=ids,
    )


def _of_heads(states: Tensor, heads: tuple[int, ...], count: int) -> Tensor:
    """States [B, H or Q, T, D] of these of `count` key-value heads, with all query heads of their groups."""
    if len(heads) == count:
        return states
    batch, _, tokens, dim = states.shape
    return states.reshape(batch, count, -1, tokens, dim)[:, list(heads)].flatten(1, 2)
