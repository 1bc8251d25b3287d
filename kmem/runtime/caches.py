"""Which stream a KV cache belongs to: noted on the cache object itself, so that a deep copy of it (prefix re-use) goes on where it was."""

from types import MethodType
from weakref import WeakSet

from torch import Tensor
from transformers import Cache

from kmem.runtime.stream import Stream

STREAM = "_kmem_stream"
OWNER = "_kmem_session"


class CacheStreams:
    """The caches that one session reads with. What an earlier session left on a copied cache is not ours and is ignored."""

    def __init__(self) -> None:
        self._owner = _Owner()
        self._marked: WeakSet[Cache] = WeakSet()

    def stream(self, cache: Cache) -> Stream | None:
        """The stream of this cache, or of the one it was copied from."""
        if getattr(cache, OWNER, None) is not self._owner:
            return None
        stream: Stream = getattr(cache, STREAM)
        return stream

    def remember(self, cache: Cache, stream: Stream) -> None:
        """From now on this cache continues `stream`; beam search, which reorders its rows, is noted there."""
        setattr(cache, OWNER, self._owner)
        setattr(cache, STREAM, stream)
        cache.reorder_cache = MethodType(_reorder_and_note, cache)  # a bound method: a deep copy is bound to the copy
        self._marked.add(cache)

    def forget(self, cache: Cache) -> None:
        """Take our marks off."""
        for name in (OWNER, STREAM, "reorder_cache"):
            cache.__dict__.pop(name, None)

    def close(self) -> None:
        """Take our marks off every cache that is still alive."""
        for cache in list(self._marked):
            self.forget(cache)


class _Owner:
    """Stands for a session; a deep copy of a cache belongs to the same session."""

    def __deepcopy__(self, memo: dict[int, object]) -> "_Owner":
        return self


def _reorder_and_note(cache: Cache, beam_idx: Tensor) -> None:
    type(cache).reorder_cache(cache, beam_idx)
    getattr(cache, STREAM).note_beams()
