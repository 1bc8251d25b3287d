"""The vector quantiser: its family, its training, its codes against FAISS's, and its independence of FAISS once trained."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.bank import open_bank
from kmem.kstore.quant import load_quantiser
from kmem.kstore.quant.family import family
from kmem.kstore.quant.vq import Vq
from kmem.kstore.quant.vq_encode import vq_encode
from kmem.kstore.quant.vq_train import layer_bounds, train_vq
from kmem.memories import EMPTY_SLOT, Memories
from kmem.profile import Profile
from tests.kernels.test_vq_decode import books_of, faiss_index
from tests.kstore.kit import NgramEmbedder, tiny_chunks, tiny_codec, tiny_memories, tiny_spec, write_bank

FACTORIES = {
    8: "OPQ2_8,Residual2x4,PQ1x8",
    12: "OPQ3_12,Residual2x4,PQ1x8",
    16: "OPQ4_16,Residual2x4,PQ1x8",
    64: "OPQ16_64,Residual2x12,PQ8x8",
    80: "OPQ20_80,Residual2x14,PQ8x10",
    128: "OPQ32_128,Residual2x14,PQ16x9",
    256: "OPQ64_256,Residual2x14,PQ32x10",
}


def noise(count: int, *, dim: int = 8, seed: int = 0) -> Memories:
    """Normal numbers, the hardest to compress, in the tiny profile's six slots; none is empty."""
    spec = dataclasses.replace(tiny_spec(), head_dim=dim, bracket=torch.zeros(2, 2, 2, 3, dim))
    return Memories(
        kv=torch.randn(count, 2, 6, dim, generator=torch.Generator().manual_seed(seed)),
        slot_position=torch.zeros(count, 6, dtype=torch.uint8),
        lengths=torch.full((count,), 5),
        ids=tuple(range(count)),
        spec=spec,
    )


def relative_error(codec: Vq, kv: Tensor) -> float:
    return float((codec.decode(codec.encode(kv)).float() - kv).norm() / kv.norm())


@pytest.mark.parametrize(("dim", "factory"), FACTORIES.items())
def test_the_family_of_a_head_dimension(dim: int, factory: str) -> None:
    wanted = family(dim, 65_536)
    assert wanted.factory == factory
    assert wanted.code_bytes == faiss.index_factory(dim, factory).sa_code_size()


@pytest.mark.parametrize("samples", [8, 100, 5000, 65_536])
def test_every_even_dimension_has_a_family_that_its_samples_can_train(samples: int) -> None:
    for dim in range(2, 514, 2):
        wanted = family(dim, samples)
        assert dim % wanted.pieces == dim % wanted.rotation_pieces == 0
        assert max(2**wanted.coarse_bits, 2**wanted.piece_bits) * 4 <= samples
        assert 2 * dim / wanted.code_bytes >= (11.4 if dim >= 12 else dim)


def test_what_has_no_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="7 numbers a head"):
        family(7, 1000)
    with pytest.raises(ConfigError, match="at least 8 filled slots a layer group to train on, not 7"):
        family(8, 7)


def test_codes_are_those_of_faiss() -> None:
    books, wanted = books_of(family(80, 999)), family(80, 999)
    vectors = torch.randn(2000, 80, generator=torch.Generator().manual_seed(1))
    ours, theirs = vq_encode(vectors, books).numpy(), faiss_index(wanted, books).sa_encode(vectors.numpy())
    assert np.mean((ours == theirs).all(axis=1)) > 0.999  # ties within rounding


@pytest.mark.parametrize(("dim", "most"), [(8, 0.45), (16, 0.65)])
def test_error_on_noise_it_has_not_seen(dim: int, most: float) -> None:
    """Root mean square error by root mean square: 2 bits a number can't do better than 0.25 on noise, 1 bit than 0.5 (rate distortion)."""
    codec = train_vq(noise(300, dim=dim))
    held_out = noise(50, dim=dim, seed=1).kv
    assert relative_error(codec, held_out) < most


def test_vectors_that_repeat_are_kept() -> None:
    memories = noise(64)
    memories.kv[:] = memories.kv[0, 0, 0]
    codec = train_vq(memories)
    torch.testing.assert_close(codec.decode(codec.encode(memories.kv)).float(), memories.kv, rtol=2**-10, atol=2**-10)


def test_same_seed_same_codebooks_other_seed_others() -> None:
    memories = noise(100)
    assert train_vq(memories, seed=1) == train_vq(memories, seed=1)
    assert train_vq(memories, seed=1) != train_vq(memories, seed=2)


def test_empty_slots_teach_nothing() -> None:
    memories = noise(60)
    memories.slot_position[::3, 2:] = EMPTY_SLOT
    clean = train_vq(memories, groups=2)
    memories.kv[::3, :, 2:] = 1e4
    assert train_vq(memories, groups=2) == clean


def test_keys_values_and_groups_have_their_own_codebooks() -> None:
    codec = train_vq(noise(100), groups=2)
    assert codec.bounds == (0, 2, 6)
    assert len({tensor.numpy().tobytes() for name, tensor in codec.tensors().items() if name.endswith("coarse")}) == 4


@pytest.mark.parametrize(
    ("budget", "groups", "bounds"),
    [
        (((2, 0), (3, 1)), 1, (0, 6)),
        (((2, 0), (3, 1)), 4, (0, 2, 6)),
        (((0, 0), (8, 0), (8, 0), (0, 0), (8, 0), (8, 0)), 2, (0, 16, 32)),
        (((90,), (5,), (5,)), 3, (0, 90, 100)),
    ],
)
def test_groups_are_runs_of_whole_layers(budget: tuple[tuple[int, ...], ...], groups: int, bounds: tuple[int, ...]) -> None:
    assert layer_bounds(Profile(name="x", budget=budget), groups) == bounds


def test_samples_are_capped_and_too_few_refused() -> None:
    assert train_vq(noise(300), samples=40).books[0][0].coarse.shape[1] == 8
    with pytest.raises(ConfigError, match="filled slots"):
        train_vq(noise(1))
    with pytest.raises(ConfigError, match="groups must be at least 1"):
        train_vq(noise(9), groups=0)


def test_progress_begins_at_none_and_ends_with_all() -> None:
    seen: list[tuple[str, int, int]] = []
    train_vq(noise(20), groups=2, progress=lambda *now: seen.append(now))
    assert seen == [("train", done, 4) for done in range(5)]


def test_another_shape_than_trained_is_refused() -> None:
    codec = tiny_codec("vq")
    for slots, dim in ((7, 8), (6, 16)):
        with pytest.raises(ConfigError, match=f"6 slots × 8 numbers, not {slots} × {dim}"):
            codec.record_shape(slots, dim)


def test_reloaded_it_gives_the_same_codes(tmp_path: Path) -> None:
    codec = tiny_codec("vq")
    path = tmp_path / "vq.safetensors"
    safetensors.torch.save_file(dict(codec.tensors()), path)
    again = load_quantiser(json.loads(json.dumps(codec.to_dict())), safetensors.torch.load_file(path))
    kv = tiny_memories(tiny_spec(), tiny_chunks(30)).kv
    assert again == codec
    assert np.array_equal(again.encode(kv), codec.encode(kv))


def test_encodes_and_decodes_where_faiss_is_not(tmp_path: Path) -> None:
    codec, kv = tiny_codec("vq"), tiny_memories(tiny_spec(), tiny_chunks(30)).kv
    records = codec.encode(kv)
    safetensors.torch.save_file({**codec.tensors(), "kv": kv, "records": torch.from_numpy(records)}, tmp_path / "all.safetensors")
    (tmp_path / "vq.json").write_text(json.dumps(codec.to_dict()))
    code = """if True:
        import json, sys
        sys.modules["faiss"] = None
        import numpy, safetensors.torch
        from kmem.kstore.quant import load_quantiser
        tensors = safetensors.torch.load_file("all.safetensors")
        codec = load_quantiser(json.load(open("vq.json")), tensors)
        assert numpy.array_equal(codec.encode(tensors["kv"]), tensors["records"].numpy())
        safetensors.torch.save_file({"kv": codec.decode(tensors["records"].numpy())}, "decoded.safetensors")
    """
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert torch.equal(safetensors.torch.load_file(tmp_path / "decoded.safetensors")["kv"], codec.decode(records))


def test_its_codebooks_lie_beside_the_manifest(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", name="vq")
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        assert bank.quantiser == tiny_codec("vq")
        assert bank.manifest.quantiser["codebooks"] == tiny_codec("vq").to_dict()["codebooks"]
    (tmp_path / "bank" / "quantiser.safetensors").unlink()
    with pytest.raises(CorruptBankError, match=r"quantiser\.safetensors"):
        open_bank(tmp_path / "bank")
