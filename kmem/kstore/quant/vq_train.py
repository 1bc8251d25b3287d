"""Training the vector quantiser on a sample of a bank. The only file of the quantisers that imports FAISS."""

import itertools
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.arguments import require_count
from kmem.kernels.vq_decode import Codebooks
from kmem.kstore.quant.family import Family, family
from kmem.kstore.quant.vq import KINDS, Vq
from kmem.memories import EMPTY_SLOT, Memories
from kmem.profile import Profile
from kmem.progress import Progress, silent

GROUPS = 4
"""One group loses 26 % of held-out keys and 41 % of values (smollm2-720, D = 64), four lose 22 % and 35 %."""
SAMPLES = 65_536
"""Vectors that each set of codebooks learns from: what Memory³'s 2^14 centroids need at four a centroid.

A quarter of them costs 2 to 3 points of error."""
_ROTATION_SAMPLES, _ROTATION_ROUNDS, _CLUSTER_ROUNDS = 8192, 5, 10
"""17 s of processor time a set at D = 64; twice the rotation on twice the samples and FAISS's 25 rounds gain 0.15 points of error."""


def train_vq(memories: Memories, *, groups: int = GROUPS, samples: int = SAMPLES, seed: int = 0, progress: Progress = silent) -> Vq:
    """Codebooks for the keys and for the values of each of `groups` layer groups, from at most `samples` filled slots each.

    Deterministic for a seed, which draws the slots and starts the clusterings. Raises ConfigError for counts under 1, an odd head
    dimension, and when a group has fewer than 8 filled slots.
    """
    for value, name in ((groups, "groups"), (samples, "samples")):
        require_count(value, name)
    bounds = layer_bounds(memories.spec.profile, groups)
    drawn = [_draw(memories, slice(*ends), samples, seed) for ends in itertools.pairwise(bounds)]
    kind_of = family(memories.spec.head_dim, min(len(rows) for rows, _ in drawn))
    total = len(KINDS) * len(drawn)
    progress("train", 0, total)
    books: list[Codebooks] = []
    for kind, (rows, slots) in itertools.product(range(len(KINDS)), drawn):
        books.append(_train(memories.kv[rows, kind, slots].float().numpy(), kind_of, seed))
        progress("train", len(books), total)
    return Vq(bounds=bounds, books=(tuple(books[: len(drawn)]), tuple(books[len(drawn) :])))


def layer_bounds(profile: Profile, groups: int) -> tuple[int, ...]:
    """Slots at which `groups` runs of whole layers begin, and S: about equal slots a run, fewer runs where layers are few."""
    ends = np.cumsum([sum(row) for row in profile.budget])
    wanted = np.arange(1, groups) * profile.slots / groups
    nearest = [int(ends[np.argmin(np.abs(ends - slots))]) for slots in wanted]
    return tuple(sorted({0, *nearest, profile.slots}))


def _draw(memories: Memories, slots: slice, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """(row, slot) of up to `samples` filled slots of this range."""
    rows, columns = (memories.slot_position[:, slots] != EMPTY_SLOT).nonzero(as_tuple=True)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:samples]
    return rows[chosen], columns[chosen] + slots.start


def _train(vectors: NDArray[np.float32], wanted: Family, seed: int) -> Codebooks:
    """vectors: [n, D]."""
    rotation = faiss.OPQMatrix(wanted.head_dim, wanted.rotation_pieces)
    rotation.max_train_points, rotation.niter = _ROTATION_SAMPLES, _ROTATION_ROUNDS
    pieces = faiss.ProductQuantizer(wanted.head_dim, wanted.rotation_pieces, min(8, wanted.piece_bits))
    _calm(pieces, seed)
    rotation.pq = pieces
    rotation.train(vectors)
    index: Any = faiss.index_factory(wanted.head_dim, wanted.factory.partition(",")[2])  # FAISS's annotations stop at `Index`
    halves: Any = faiss.downcast_index(index.q1.quantizer)
    _calm(halves.pq, seed)
    _calm(index.pq, seed)
    index.train(rotation.apply(vectors))
    return Codebooks(
        rotation=torch.from_numpy(faiss.vector_to_array(rotation.A).reshape(wanted.head_dim, -1)),
        coarse=_centroids(halves.pq),
        fine=_centroids(index.pq),
    )


def _calm(quantiser: faiss.ProductQuantizer, seed: int) -> None:
    """Seed the clustering, and let it be content with the samples there are: the family was chosen by their number."""
    quantiser.cp.seed, quantiser.cp.niter = seed, _CLUSTER_ROUNDS
    quantiser.cp.min_points_per_centroid = 1


def _centroids(quantiser: faiss.ProductQuantizer) -> Tensor:
    return torch.from_numpy(faiss.vector_to_array(quantiser.centroids).reshape(quantiser.M, quantiser.ksub, quantiser.dsub))
