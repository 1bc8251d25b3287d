"""The live connection between a model and a source of memories: the wrapped forward, one stream a KV cache, and the attention handler."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from kmem.encoder.anatomy import examine
from kmem.encoder.hook import boolean_mask, current_handler, handling, scaling_of
from kmem.errors import UnsupportedModelError
from kmem.kernels.memory_attention import LayerMemory
from kmem.runtime.caches import CacheStreams
from kmem.runtime.forms import form_for
from kmem.runtime.inputs import cached_columns, new_tokens, real_columns
from kmem.runtime.pool import Pool
from kmem.runtime.schedule import Cadence, Ids, Span
from kmem.runtime.source import Source
from kmem.runtime.stats import Stats
from kmem.runtime.stream import Stream
from kmem.runtime.trace import TraceSpan, trace_of


class Session:
    """What `with kmem.attach(...) as memory` yields: read `trace`, `schedule` and `stats()` from it at any time."""

    materialise_mask = False

    def __init__(
        self,
        model: PreTrainedModel,
        source: Source,
        *,
        cadence: Cadence,
        schedule: Sequence[Span] | None,
        device_bytes: int,
    ) -> None:
        self._anatomy = examine(model)
        self._source, self._cadence, self._given = source, cadence, schedule
        form = form_for(source.quantiser, source.spec, device=model.device, dtype=model.dtype)
        self._pool = Pool(source.spec, form, device=model.device, dtype=model.dtype, budget_bytes=device_bytes)
        self._caches = CacheStreams()
        self._stats = Stats()
        self._latest: Stream | None = None
        self._turn = Lock()  # one forward pass at a time: the pool and the plan serve whoever holds it
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
        return trace_of(spans, self._latest.ledger(), origins, heads=self._reading_heads)

    def stats(self) -> dict[str, float | int]:
        """Counters since attaching, the fields of `Stats`: seconds by what they went into, bytes, hits a tier."""
        return self._stats.to_dict()

    def counted(self) -> Stats:
        """The counters as they are now."""
        return replace(self._stats)

    # ------------------------------------------------------------------ what a policy of the KV cache asks and says

    def handed(self, cache: Cache, row: int) -> Span | None:
        """The span of a row whose memories its next token, if it is generated, inherits; None where it reads others, or none."""
        stream = self._caches.stream(cache)
        found = None if stream is None else stream.handed(row)
        return None if found is None or self._pool.missing(found.ids) else found

    def keep(self, cache: Cache, row: int, ids: Ids) -> None:
        """Of those memories, these are read on."""
        stream = self._caches.stream(cache)
        if stream is not None:
            stream.keep(row, ids)

    def memory(self, layer: int, ids: Ids) -> tuple[LayerMemory, Tensor]:
        """What is resident of a layer, and the rows there of these memories."""
        return self._pool.layer(layer), torch.tensor(self._pool.rows(ids), device=self._pool.device)

    # ------------------------------------------------------------------ around the model's forward

    def before_generation_step(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """On the whole model: refuse assisted decoding, whose candidates would be read as a prompt and rolled back."""
        keep, cache = kwargs.get("logits_to_keep"), kwargs.get("past_key_values")
        if isinstance(keep, int) and keep > 1 and cached_columns(cache) > 0:
            raise UnsupportedModelError(
                "Assisted decoding checks several candidate tokens at once and takes some back, which memory spans can't follow; "
                "generate without assistant_model and prompt_lookup_num_tokens."
            )

    def forward(self, original: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """In place of the decoder's forward: advance the schedule, load what it needs, run, and book what was read."""
        if current_handler() is not None:  # the encoder is at work in the same model
            return original(**arguments)
        if getattr(self._anatomy.decoder, "gradient_checkpointing", False) and self._anatomy.decoder.training:
            raise UnsupportedModelError(
                "Gradient checkpointing runs layers again where no memories are attached, and would give wrong gradients; turn it off "
                "(model.gradient_checkpointing_disable())."
            )
        tokens = new_tokens(arguments)
        cache: Cache | None = arguments.get("past_key_values")
        with self._turn:
            stream = self._latest = self._stream(cache, batch=tokens.shape[0])
            real = real_columns(arguments.get("attention_mask"), *tokens.shape)
            try:
                stream.advance(tokens, real)
                self._retrieve(stream)
                if not stream.still(self._pool):
                    self._load(stream.reads())
                    stream.replan(self._pool)
                with handling(self) if stream.plan else nullcontext():
                    output = original(**arguments)
                self._source.read_ahead(self._stats)  # not before: a prompt's products take every core
            except BaseException:
                if cache is not None:  # what a failed pass left in the cache is unknown
                    self._caches.forget(cache)
                raise
            made = getattr(output, "past_key_values", None)
            if made is not None and self._caches.stream(made) is not stream:
                self._caches.remember(made, stream)
        return output

    def close(self) -> None:
        """Leave no trace on the caches that are still alive, and no thread."""
        self._caches.close()
        self._source.close()

    def _stream(self, cache: Cache | None, *, batch: int) -> Stream:
        columns = cached_columns(cache)
        stream = self._caches.stream(cache) if cache is not None and columns else None
        if stream is not None and stream.columns != columns:
            raise UnsupportedModelError(
                f"The KV cache went from {stream.columns} columns to {columns} between two steps; cropping it (assisted decoding does) "
                f"is not possible while memories are attached."
            )
        if stream is not None and stream.batch != batch:
            raise UnsupportedModelError(
                f"The KV cache went from {stream.batch} rows to {batch} between two steps; repeating or selecting rows is not possible "
                f"while memories are attached."
            )
        if stream is None:
            stream = Stream(batch=batch, cadence=self._cadence, given=self._given, columns=columns)
            if cache is not None:
                self._caches.remember(cache, stream)
        return stream

    def _retrieve(self, stream: Stream) -> None:
        waiting = stream.take_queries()
        if not waiting:
            return
        began = time.perf_counter()
        found = self._source.retrieve([query for _, query in waiting], self._stats)
        for (set_ids, _), ids in zip(waiting, found, strict=True):
            set_ids(ids)
        self._stats.note_retrieval(len(waiting), time.perf_counter() - began)

    def _load(self, wanted: Ids) -> None:
        began = time.perf_counter()
        missing = self._pool.missing(wanted)
        loaded = self._pool.form.ready(self._source.read(missing, self._stats), self._stats) if missing else None
        read = time.perf_counter()
        self._pool.hold(wanted, loaded)
        done = time.perf_counter()
        self._stats.note_device(len(wanted) - len(missing), len(missing), done - read)
        self._stats.note_loading(done - began)

    # ------------------------------------------------------------------ attention

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """One softmax over bracket, memories and context, for all runs of columns at once; the context as the model itself reads it where
        it hands over `alone` (B'MOJO).
        """
        stream = self._latest
        assert stream is not None  # forward made it the latest, and planned
        plan = stream.plan
        assert plan is not None
        layer, scaling, alone = int(module.layer_idx), scaling_of(query, options), options.get("alone")  # type: ignore[arg-type]
        # Sums over memories and context are float32, whatever the model's are.
        autocast = torch.is_autocast_enabled(query.device.type)
        with torch.autocast(query.device.type, enabled=False) if autocast else nullcontext():
            if alone is not None:
                joining = plan.joining(self._pool, layer, keep=stream.generating)
                output, mass = joining.join(query, *alone(lse=True), scaling=scaling, softcap=None)
                output = output.to(query.dtype)
            else:
                length, keys = query.shape[2], key.shape[2]
                if mask is not None or length not in (1, keys):
                    mask = boolean_mask(mask, query, key)
                attention = plan.layer(self._pool, layer, keep=stream.generating)
                output, mass = attention(query, key, value, mask, scaling=scaling, softcap=options.get("softcap"))
        plan.note(mass)
        return output, None
