"""A scorer: one weight a feature, and through the logistic curve a score. On disk a JSON file and a safetensors file, never a pickle."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from kmem.errors import IdentityMismatchError, ScorerError
from kmem.kbuild.quality.features import EMBEDDING, Features, FeaturesConfig, TextEmbedder
from kmem.written import whole_text

FORMAT = 1
DESCRIPTION, WEIGHTS = "scorer.json", "weights.safetensors"
BATCH = 256
"""Texts featured together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """`score(texts)`: float32 [N] between 0 (says nothing) and 1 (informative); the same text always scores the same.

    weights: [F], the features' own and then the form's. `provenance`: rows, sources, settings and the held-out figures it was accepted
    on. Labels of 0 and 1 make the score a probability, grades their share of the highest.
    """

    name: str
    config: FeaturesConfig
    weights: NDArray[np.float32]
    bias: float
    embedder: TextEmbedder | None = None
    provenance: Mapping[str, Any]

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] in the order given. Raises ConfigError for an `embedding` scorer without its embedder."""
        features, scores = Features(self.config, self.embedder), np.empty(len(texts), dtype=np.float32)
        for start in range(0, len(texts), BATCH):
            logits = features.matrix(texts[start : start + BATCH]) @ self.weights + self.bias
            scores[start : start + BATCH] = 1 / (1 + np.exp(-logits))
        return scores

    def identity(self) -> dict[str, Any]:
        """`{"name", "kind", "digest"}`, and of an `embedding` scorer its `embedder`; what a build's identity holds."""
        embedder = {} if self.embedder is None else {"embedder": self.embedder.identity()}
        return {"name": self.name, "kind": self.config.kind, "digest": self.digest, **embedder}

    @cached_property
    def digest(self) -> str:
        """sha256 of what decides a score, less the embedder."""
        return _digest(self.config, self.weights, self.bias)

    def save(self, folder: Path) -> None:
        """Write both files, the weights as float16, which is what training has rounded them to; the description last and whole."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weights": self.weights.astype(np.float16), "bias": np.array([self.bias])}, folder / WEIGHTS)
        record = {"format": FORMAT, **self.identity(), "features": asdict(self.config), "provenance": dict(self.provenance)}
        with whole_text(folder / DESCRIPTION) as file:
            json.dump(record, file, indent=1, ensure_ascii=False)


def open_scorer(folder: Path, embedder: Callable[[str], TextEmbedder] | None = None) -> Scorer:
    """The scorer of a folder. embedder: makes the embedder of that name, called for an `embedding` scorer only.

    Raises ScorerError for files that are missing, altered or of another format, IdentityMismatchError for another embedder.
    """
    try:
        record = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        if record["format"] != FORMAT:
            raise ScorerError(f"{folder} holds a scorer of format {record['format']}, and this kmem reads {FORMAT}: train it again.")
        config = FeaturesConfig(**{field.name: record["features"][field.name] for field in fields(FeaturesConfig)})
        weights, bias = tensors["weights"].astype(np.float32), float(tensors["bias"][0])
        name, digest, provenance = str(record["name"]), record["digest"], dict(record["provenance"])
        wanted = dict(record["embedder"]) if config.kind == EMBEDDING else {}
    except OSError as error:
        raise ScorerError(
            f"{folder} holds no scorer ({error.filename or folder}: {error.strerror}): name one that kmem quality train wrote."
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise ScorerError(f"{folder} holds no scorer that can be read ({str(error).rstrip('.')}): train it again.") from error
    if _digest(config, weights, bias) != digest:
        raise ScorerError(f"{folder / WEIGHTS} is not what {DESCRIPTION} was written for (digest {digest[:12]}): train it again.")
    made = _embedder(name, wanted, embedder) if wanted else None
    return Scorer(name=name, config=config, weights=weights, bias=bias, embedder=made, provenance=provenance)


def _embedder(name: str, wanted: dict[str, Any], make: Callable[[str], TextEmbedder] | None) -> TextEmbedder:
    if make is None:
        raise ScorerError(f"Scorer {name!r} weighs vectors of the embedder {wanted['name']!r}: pass what makes it as `embedder`.")
    made = make(wanted["name"])
    if made.identity() != wanted:
        raise IdentityMismatchError(
            f"Scorer {name!r} was trained on vectors of {wanted}, and {wanted['name']!r} is {made.identity()} here: train it again."
        )
    return made


def _digest(config: FeaturesConfig, weights: NDArray[np.float32], bias: float) -> str:
    said = json.dumps([FORMAT, asdict(config), bias], sort_keys=True).encode()
    return hashlib.sha256(said + weights.astype("<f2").tobytes()).hexdigest()
