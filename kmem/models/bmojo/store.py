"""The eidetic store: tokens enter as they leave the window, and are read beside window and fading keys."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kmem.kernels.chunked_window import Attended, Eidetic, KeyValue, Window, attend, attend_retrieved
from kmem.models.bmojo.choice import choose, gather, keep_all
from kmem.models.bmojo.priority import EMPTY
from kmem.models.bmojo.reach import Reach
from kmem.models.bmojo.retrieval import bounds_of, retrieve
from kmem.models.bmojo.state import State


class Stored(NamedTuple):
    """key, value: [B, H, m, D]; priority: [B, m] int64, EMPTY where a slot is free."""

    key: Tensor
    value: Tensor
    priority: Tensor

    def followed_by(self, near: KeyValue) -> "Stored":
        """These keys and values with those of tokens behind them, to take from."""
        return Stored(torch.cat([self.key, near.key], dim=2), torch.cat([self.value, near.value], dim=2), self.priority)

    def take(self, place: Tensor, priority: Tensor) -> "Stored":
        return Stored(gather(self.key, place), gather(self.value, place), priority)


class Tokens(NamedTuple):
    """One call's: query [B, Q, T, D] at positions end − T … end − 1, keys and priorities [B, n] of the last n tokens, fading keys."""

    query: Tensor
    near: KeyValue
    priority: Tensor
    fading: KeyValue | None
    end: int


@dataclass(frozen=True, kw_only=True)
class Store:
    """capacity, retrieve_above, retrieve: see BMojoConfig's eidetic, retrieve_above, retrieve. reach: None = keys keep their positions.

    Keys are stored where they stood and moved to within reach when a chunk reads them, so the state does not depend on who reads it.
    """

    window: Window
    capacity: int | None
    reach: Reach | None
    retrieve_above: int | None
    retrieve: int
    scaling: float

    def attend(self, tokens: Tokens, state: State, *, lse: bool = False) -> tuple[Attended, State]:
        """What the queries read, with lse where wanted, and the store after the last token's chunk began.

        A chunk's queries all read the same store.
        """
        before = self._before(tokens, state)
        bounded = self.capacity is not None and (self.retrieve_above is None or self.capacity <= self.retrieve_above)
        return self._all_chunks(tokens, before, lse=lse) if bounded else self._chunk_by_chunk(tokens, before, state, lse=lse)

    def _before(self, tokens: Tokens, state: State) -> Stored:
        if "eidetic_priority" in state:
            return Stored(state["eidetic_key"], state["eidetic_value"], state["eidetic_priority"])
        batch, heads, _, dim = tokens.near.key.shape
        size = self.capacity or 0
        free = tokens.near.key.new_zeros(batch, heads, size, dim)
        return Stored(free, free, tokens.priority.new_full((batch, size), EMPTY))

    def _all_chunks(self, tokens: Tokens, before: Stored, *, lse: bool) -> tuple[Attended, State]:
        """Of bounded size: every chunk's store is chosen first, then all chunks are read at once."""
        end, window = tokens.end, self.window
        begin = end - tokens.priority.shape[1]
        chunks = window.chunks(end - tokens.query.shape[2], end)
        entered = [window.kept(chunk * window.chunk) - begin for chunk in chunks]
        place, priority = choose(before.priority, tokens.priority, entered)
        held = before.followed_by(tokens.near).take(place, priority)
        output = attend(
            tokens.query,
            tokens.near,
            window,
            end=end,
            scaling=self.scaling,
            fading=tokens.fading,
            eidetic=Eidetic(self._read_at(held.key, priority, chunks), held.value, priority != EMPTY),
            lse=lse,
        )
        return output, _state(Stored(held.key[:, :, -1].clone(), held.value[:, :, -1].clone(), priority[:, -1].clone()))

    def _chunk_by_chunk(self, tokens: Tokens, held: Stored, state: State, *, lse: bool) -> tuple[Attended, State]:
        """Of growing or large size: one chunk after another, so that no chunk's store is laid out for another."""
        past, window = tokens.end - tokens.query.shape[2], self.window
        begin = tokens.end - tokens.priority.shape[1]
        bounds: tuple[Tensor, ...] = tuple(state[name] for name in ("eidetic_least", "eidetic_greatest") if name in state)
        found = []
        for chunk in window.chunks(past, tokens.end):
            first, last = chunk * window.chunk, min(tokens.end, (chunk + 1) * window.chunk)
            until = window.kept(first)
            if until > begin:
                held, bounds = self._enter(held, tokens, begin, until), ()
                begin = until
            piece = _piece(tokens, max(past, first), last, begin)
            key = self._read_at(held.key[:, :, None], held.priority[:, None], range(chunk, chunk + 1))
            if self.retrieve_above is None or held.key.shape[2] <= self.retrieve_above:
                eidetic = Eidetic(key, held.value[:, :, None], (held.priority != EMPTY)[:, None])
                read = attend(
                    piece.query, piece.near, window, end=last, scaling=self.scaling, fading=piece.fading, eidetic=eidetic, lse=lse
                )
            else:
                placed = held._replace(key=key[:, :, 0])
                bounds = bounds or bounds_of(placed.key, held.priority != EMPTY)
                read = self._retrieved(piece, placed, bounds, lse=lse)
            found.append(read)
        sums = torch.cat([read.lse for read in found if read.lse is not None], dim=2) if lse else None
        return Attended(torch.cat([read.output for read in found], dim=2), sums), _state(held, bounds)

    def _read_at(self, key: Tensor, priority: Tensor, chunks: range) -> Tensor:
        """Keys [B, H, K, M, D] of priority [B, K, M] as the queries of those K chunks read them."""
        return key if self.reach is None else self.reach.placed(key, priority, [chunk * self.window.chunk for chunk in chunks])

    def _enter(self, held: Stored, tokens: Tokens, begin: int, until: int) -> Stored:
        """The store after the tokens at positions `begin` … `until` − 1 have left the window."""
        lead = tokens.end - tokens.priority.shape[1]
        part = slice(begin - lead, until - lead)
        fresh = tokens.priority[:, part]
        if self.capacity is None:
            place, priority = keep_all(torch.cat([held.priority, fresh], dim=1))
        else:
            places, priorities = choose(held.priority, fresh, [fresh.shape[1]])
            place, priority = places[:, 0], priorities[:, 0]
        return held.followed_by(_part(tokens.near, part)).take(place, priority)

    def _retrieved(self, piece: Tokens, held: Stored, bounds: tuple[Tensor, ...], *, lse: bool) -> Attended:
        least, greatest = bounds
        place, seen = retrieve(piece.query, least, greatest, held.priority != EMPTY, self.retrieve)
        flat = place.flatten(2)[..., None].expand(-1, -1, -1, held.key.shape[-1])
        key, value = (torch.unflatten(part.gather(2, flat), 2, place.shape[2:]) for part in (held.key, held.value))
        eidetic = Eidetic(key, value, seen)
        given = (piece.query, piece.near, self.window, eidetic)
        return attend_retrieved(*given, end=piece.end, scaling=self.scaling, fading=piece.fading, lse=lse)


def _piece(tokens: Tokens, first: int, last: int, begin: int) -> Tokens:
    """The queries at positions `first` … `last` − 1 with the window's keys from position `begin` on, and the fading keys up to there."""
    past, begins = tokens.end - tokens.query.shape[2], tokens.end - tokens.near.key.shape[2]
    fading = tokens.fading and _part(tokens.fading, slice(tokens.fading.key.shape[2] - (tokens.end - last)))
    near = _part(tokens.near, slice(begin - begins, last - begins))
    return Tokens(tokens.query[:, :, first - past : last - past], near, tokens.priority, fading, last)


def _part(pair: KeyValue, places: slice) -> KeyValue:
    return KeyValue(pair.key[:, :, places], pair.value[:, :, places])


def _state(held: Stored, bounds: tuple[Tensor, ...] = ()) -> State:
    names = ("eidetic_key", "eidetic_value", "eidetic_priority", "eidetic_least", "eidetic_greatest")
    return dict(zip(names, (*held, *bounds), strict=False))
