"""`null`: vectors of nothing, for measuring a build without a model that embeds. A bank that has them is refused by `attach`."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NULL = "null"
DIM = 8


@dataclass(frozen=True)
class Null:
    """Each text's vector is drawn from its hash: the same for the same text, near to nothing in particular."""

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=DIM).digest() for text in texts)
        vectors = np.frombuffer(digests, dtype=np.uint8).reshape(len(texts), DIM).astype(np.float32) - np.float32(127.5)
        if progress is not None:
            progress(len(texts))
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed(texts)

    def identity(self) -> dict[str, Any]:
        return {"name": NULL, "dim": DIM}
