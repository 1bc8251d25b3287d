"""The live connection between a model and a source of memories: hooks, one stream a KV cache, and the attention handler."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from threading import Lock, get_ident
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from kmem.encoder.anatomy import examine
from kmem.encoder.hook import Attention, as_boolean_mask, current_handler, handling
from kmem.errors import UnsupportedModelError
from kmem.kernels.memory_attention import memory_attention
from kmem.runtime.inputs import cached_columns, new_tokens, real_columns
from kmem.runtime.plan import Block
from kmem.runtime.pool import Pool
from kmem.runtime.schedule import Span
from kmem.runtime.source import Source
from kmem.runtime.stats import Stats
from kmem.runtime.stream import Stream
from kmem.runtime.trace import TraceSpan, trace_of


class Session:
    """What `with kmem.attach(...) as memory` yields: read `trace`, `schedule` and `stats()` from it at any time."""

    materialise_mask = True

    def __init__(self, model: PreTrainedModel, source: Source, *, every: int | None, schedule: Sequence[Span] | None) -> None:
        self._anatomy = examine(model)
        self._source, self._every, self._given = source, every, schedule
        self._pool = Pool(source.spec, device=model.device, dtype=model.dtype)
        self._streams: WeakKeyDictionary[Cache, Stream] = WeakKeyDictionary()
        self._stats = Stats()
        self._latest: Stream | None = None
        self._blocks: list[Block] = []
        self._turn = Lock()  # one forward pass at a time: the pool and the blocks serve whoever holds it
        self._holder = 0  # the thread whose turn it is: a forward that failed before our hook must not end another's
        self._handling: AbstractContextManager[None] | None = None
        budget = source.spec.profile.budget
        groups = self._anatomy.query_heads // self._anatomy.heads
        self._reading_heads = sum(tokens > 0 for row in budget for tokens in row) * groups

    # ------------------------------------------------------------------ what callers look at

    @property
    def schedule(self) -> list[Span]:
        """The spans of the latest generation, row by row; `attach(..., schedule=…)` replays them."""
        return self._latest.spans if self._latest else []

    @property
    def trace(self) -> list[TraceSpan]:
        """The same spans with sources and attention mass."""
        if self._latest is None:
            return []
        spans = self._latest.spans
        origins = {memory_id: self._source.origin(memory_id) for span in spans for memory_id in span.ids}
        return trace_of(spans, self._latest.ledger, origins)

    def stats(self) -> dict[str, float | int]:
        """Counters since attaching: retrievals, memories read and re-used, bytes, seconds."""
        return self._stats.to_dict()

    # ------------------------------------------------------------------ hooks around the decoder's forward

    def before_generation_step(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """On the whole model: refuse assisted decoding, whose candidates would be read as a prompt and rolled back."""
        keep = kwargs.get("logits_to_keep")
        if isinstance(keep, int) and keep > 1 and kwargs.get("past_key_values") is not None:
            raise UnsupportedModelError(
                "Assisted decoding checks several candidate tokens at once and takes some back, which memory spans can't follow; "
                "generate without assistant_model and prompt_lookup_num_tokens."
            )

    def before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """On the decoder: advance the schedule, load what it needs, and take over attention if any token reads anything."""
        if current_handler() is not None:  # the encoder is at work in the same model
            return
        self._turn.acquire()
        self._holder = get_ident()
        tokens = new_tokens(kwargs, args)
        cache: Cache | None = kwargs.get("past_key_values")
        stream = self._stream(cache, batch=tokens.shape[0])
        real = real_columns(kwargs.get("attention_mask"), *tokens.shape)
        stream.advance(tokens, real)
        self._retrieve(stream)
        self._load(stream)
        self._blocks = stream.plan(self._pool)
        if self._blocks:
            self._handling = handling(self)
            self._handling.__enter__()

    def after_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """On the decoder, also when its forward raised."""
        if current_handler() not in (None, self) or self._holder != get_ident():
            return
        if self._handling is not None:
            self._handling.__exit__(None, None, None)
            self._handling = None
        cache = getattr(output, "past_key_values", None)
        if cache is not None and self._latest is not None:
            self._streams.setdefault(cache, self._latest)
            self._latest.settle(self._blocks, self._reading_heads)
        self._holder = 0
        self._turn.release()

    def _stream(self, cache: Cache | None, *, batch: int) -> Stream:
        columns = cached_columns(cache)
        stream = self._streams.get(cache) if cache is not None and columns else None
        if stream is not None and stream.columns != columns:
            raise UnsupportedModelError(
                f"The KV cache went from {stream.columns} columns to {columns} between two steps; cropping it (assisted decoding does) "
                f"is not possible while memories are attached."
            )
        if stream is None:
            stream = Stream(batch=batch, every=self._every, given=self._given, columns=columns)
            if cache is not None:
                self._streams[cache] = stream
        self._latest = stream
        return stream

    def _retrieve(self, stream: Stream) -> None:
        waiting = stream.take_queries()
        if not waiting:
            return
        began = time.perf_counter()
        found = self._source.retrieve([query for _, query in waiting])
        for (set_ids, _), ids in zip(waiting, found, strict=True):
            set_ids(ids)
        self._stats.note_retrieval(len(waiting), time.perf_counter() - began)

    def _load(self, stream: Stream) -> None:
        wanted = stream.wanted()
        if set(wanted) == set(self._pool.ids):
            return
        missing = self._pool.missing(wanted)
        began = time.perf_counter()
        loaded = self._source.read(missing) if missing else None
        self._pool.replace(wanted, loaded)
        stored = 0 if loaded is None else loaded.kv.numel() * loaded.kv.element_size()
        self._stats.note_read(
            read=len(missing), reused=len(wanted) - len(missing), loaded_bytes=stored, seconds=time.perf_counter() - began
        )

    # ------------------------------------------------------------------ attention

    def attend(
        self, module: nn.Module, base: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """One softmax over bracket, memories and context, block by block of query columns."""
        assert mask is not None  # materialise_mask
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        length = query.shape[2]
        context = as_boolean_mask(mask, length)[..., : key.shape[2]]
        scaling = options.get("scaling") or query.shape[-1] ** -0.5
        output = query.new_empty(query.shape[0], length, query.shape[1], value.shape[-1])
        for block in self._blocks:
            columns = slice(block.first, block.last)
            memory_key, memory_value, memory_mask = block.layer(self._pool, layer)
            output[:, columns], slot_mass = memory_attention(
                query[:, :, columns],
                key,
                value,
                context[:, :, columns],
                memory_key,
                memory_value,
                memory_mask,
                scaling=scaling,
                softcap=options.get("softcap"),
            )
            block.add_mass(slot_mass, self._pool.bracket.shape[3])
        return output, None
