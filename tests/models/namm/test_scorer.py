"""The scorer against a loop over tokens, its size, and its file."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kmem.errors import CheckpointError, ConfigError, FormatVersionError, KmemError, UnknownNameError, WrongTypeError
from kmem.models.namm.bam import Bam
from kmem.models.namm.checkpoint import HEADER, load_namm, notes_of, save_namm
from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm, vector, with_vector


def learnt(scorer: str = "bam", seed: int = 0) -> Namm:
    """With seeded parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    namm = Namm(NammConfig(scorer=scorer))
    namm = with_vector(namm, torch.randn(len(vector(namm)), generator=generator) * 0.3)
    namm.collect(torch.rand(1, 2, 50, 17, generator=generator), torch.ones(1, 2, 50, dtype=torch.bool))
    return namm


def omega(tokens: int, seed: int = 1) -> Tensor:
    return torch.randn(2, 3, tokens, 25, generator=torch.Generator().manual_seed(seed))


def naive_bam(bam: Bam, features: Tensor, real: Tensor) -> Tensor:
    """Token by token, in float64, as the paper writes it."""
    qkv, out, score = ((layer.weight.detach().double(), layer.bias.detach().double()) for layer in (bam.qkv, bam.out, bam.score))
    scores = torch.full(features.shape[:-1], torch.finfo(torch.float32).min, dtype=torch.float64)
    for batch in range(features.shape[0]):
        for head in range(features.shape[1]):
            tokens = features[batch, head].double()
            query, key, value = (tokens @ qkv[0].T + qkv[1]).chunk(3, dim=-1)
            for i in range(len(tokens)):
                if not real[batch, head, i]:
                    continue
                seen = [j for j in range(i, len(tokens)) if real[batch, head, j]]
                weights = torch.softmax(key[seen] @ query[i] / math.sqrt(query.shape[-1]), dim=0)
                added, scaled = (out[0] @ (weights @ value[seen]) + out[1]).chunk(2)
                scores[batch, head, i] = score[0][0] @ (tokens[i] * (1 + scaled) + added) + score[1][0]
    return scores


def test_it_has_the_papers_size_and_keeps_everything_at_first() -> None:
    namm = Namm()
    assert len(vector(namm)) == 4172
    real = torch.ones(2, 3, 9, dtype=torch.bool)
    features = namm.features(torch.rand(2, 3, 9, 17), torch.arange(8, -1, -1).expand(2, 3, -1))
    assert features.shape == (2, 3, 9, 25)
    assert torch.equal(namm(features, real), torch.zeros(2, 3, 9))
    assert len(vector(Namm(NammConfig(scorer="mlp")))) == 651
    assert torch.equal(Namm(NammConfig(scorer="mlp"))(features, real), torch.zeros(2, 3, 9))


@pytest.mark.parametrize("tokens", [1, 2, 33])
@pytest.mark.parametrize("holes", ["none", "before", "between"])
def test_bam_is_the_loop(tokens: int, holes: str) -> None:
    namm, features = learnt(), omega(tokens)
    random = torch.rand(2, 3, tokens, generator=torch.Generator().manual_seed(tokens))
    real = {"none": random >= 0, "before": random.sort().values > 0.3, "between": random > 0.3}[holes]
    found, expected = namm(features, real), naive_bam(namm.net, features, real)  # type: ignore[arg-type]
    assert found.isfinite().all()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_token_is_scored_by_itself_and_newer_ones_alone() -> None:
    namm, features, real = learnt(), omega(20), torch.ones(2, 3, 20, dtype=torch.bool)
    changed = features.clone()
    changed[..., 12, :] += 1
    difference = (namm(changed, real) - namm(features, real)).abs()
    assert difference[..., 13:].max() == 0
    assert difference[..., :13].min() > 0


def test_mlp_by_hand() -> None:
    namm, features = learnt("mlp"), omega(3)
    mixed = features + (features @ namm.net.mix.weight.T).relu()  # type: ignore[union-attr,operator]
    expected = mixed @ namm.net.score.weight[0] + namm.net.score.bias
    torch.testing.assert_close(namm(features, torch.ones(2, 3, 3, dtype=torch.bool)), expected)


def test_statistics_are_collected_and_used() -> None:
    namm = Namm()
    first, second = (torch.randn(1, 2, 30, 17, generator=torch.Generator().manual_seed(seed)) * 3 + 5 for seed in (0, 1))
    real = torch.ones(1, 2, 30, dtype=torch.bool)
    namm.collect(first, real)
    namm.collect(second, real)
    both = torch.cat([first, second], dim=2)
    spectral = namm.features(both, torch.zeros(1, 2, 60))[..., 8:]
    torch.testing.assert_close(spectral.mean(dim=(0, 1, 2)), torch.zeros(17), rtol=0, atol=1e-5)
    torch.testing.assert_close(spectral.var(dim=(0, 1, 2), correction=0), torch.ones(17), rtol=1e-4, atol=0)


def test_a_vector_makes_a_copy() -> None:
    namm = learnt()
    numbers = vector(namm)
    other = with_vector(namm, numbers + 1)
    assert torch.equal(vector(namm), numbers)
    assert torch.equal(vector(other), numbers + 1)
    assert torch.equal(other.mean, namm.mean)
    with pytest.raises(ConfigError, match="has 4172 parameters, not"):
        with_vector(namm, numbers[:-1])


@pytest.mark.parametrize("scorer", ["bam", "mlp"])
def test_a_file_gives_back_the_same_scores(scorer: str, tmp_path: Path) -> None:
    namm, path = learnt(scorer), tmp_path / "namm.safetensors"
    save_namm(namm, path, {"seed": 7})
    again = load_namm(path)
    assert again.config == namm.config
    assert float(again.count) == 100
    assert notes_of(path) == {"seed": 7}
    real, spectra = torch.ones(2, 3, 20, dtype=torch.bool), torch.rand(2, 3, 20, 17)
    ages = torch.arange(19, -1, -1).expand(2, 3, -1)
    assert torch.equal(again(again.features(spectra, ages), real), namm(namm.features(spectra, ages), real))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert [entry.name for entry in tmp_path.iterdir()] == ["namm.safetensors"]


def test_a_damaged_file_or_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "namm.safetensors"
    save_namm(learnt(), path)
    whole = path.read_bytes()
    tensors = learnt().state_dict()
    config = NammConfig().to_dict()

    def refused(kind: type[KmemError], match: str) -> None:
        with pytest.raises(kind, match=match):
            load_namm(path)

    path.write_bytes(whole[:-100])
    refused(CheckpointError, "damaged or no NAMM")
    path.write_bytes(b"")
    refused(CheckpointError, "damaged or no NAMM")
    for metadata in ({}, {HEADER: "{"}, {HEADER: "[1]"}, {HEADER: '{"version": 1}'}):
        save_file(tensors, path, metadata=metadata)
        refused(CheckpointError, "damaged or no NAMM")
    save_file(tensors, path, metadata={HEADER: '{"version": 2}'})
    refused(FormatVersionError, "format version 2")
    changes: list[dict[str, object]] = [{"hiden": 32}, {"hidden": "32"}, {"hidden": 16}, {"scorer": "cnn"}, {"recency": 3}]
    for body in ([], *(config | wrong for wrong in changes)):
        save_file(tensors, path, metadata={HEADER: json.dumps({"version": 1, "config": body, "notes": {}})})
        refused(CheckpointError, "no NAMM that can be built")
    save_file({"net.score.bias": torch.zeros(1)}, path, metadata={HEADER: json.dumps({"version": 1, "config": config, "notes": {}})})
    refused(CheckpointError, "no NAMM that can be built")
    tensors["mean"] = tensors["mean"] / 0
    save_file(tensors, path, metadata={HEADER: json.dumps({"version": 1, "config": config, "notes": {}})})
    refused(CheckpointError, "not finite")
    with pytest.raises(UnknownNameError, match="NAMM 'nowhere'"):
        load_namm("nowhere")
    with pytest.raises(ConfigError, match="empty string"):
        load_namm("")


def test_impossible_options_are_refused() -> None:
    for wrong, match in (
        ({"n_fft": 24}, "twice the hop"),
        ({"recency": 7}, "even"),
        ({"delay": 500}, "multiples of the hop"),
        ({"watch": 528}, "watch at most delay"),
        ({"ema": 1.0}, "between 0 and 1"),
        ({"hidden": 0}, "at least 1"),
        ({"recency_base": 1.0}, "above 1"),
        ({"protect": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=match):
            dataclasses.replace(NammConfig(), **wrong)
    with pytest.raises(WrongTypeError, match="whole number"):
        NammConfig(delay=5.5)  # type: ignore[arg-type]
    assert NammConfig.from_dict({"delay": 256, "ema": 0.5}) == NammConfig(delay=256, ema=0.5)
    assert NammConfig(watch=128).watched == 128


def test_a_bias_a_head_is_added_to_its_scores_alone(tmp_path: Path) -> None:
    namm = Namm(NammConfig(layers=2, heads=3))
    assert len(vector(namm)) == 4172 + 6
    namm = with_vector(namm, torch.randn(len(vector(namm)), generator=torch.Generator().manual_seed(0)) * 0.3)
    save_namm(namm, tmp_path / "one.safetensors")
    namm = load_namm(tmp_path / "one.safetensors")
    features, real = omega(9), torch.ones(2, 3, 9, dtype=torch.bool)
    assert namm.head_bias is not None
    plain, second = namm(features, real), namm(features, real, namm.bias_of(1, layers=2, heads=3))
    torch.testing.assert_close(second - plain, namm.head_bias[1][None, :, None].expand(2, 3, 9))
    every = namm.bias_of(slice(None), layers=2, heads=3)
    assert every is not None
    assert torch.equal(every, namm.head_bias)
    assert Namm().bias_of(1, layers=2, heads=3) is None


def test_on_a_model_of_another_shape_heads_are_alike() -> None:
    namm = with_vector(Namm(NammConfig(layers=2, heads=3)), torch.arange(4178.0))
    found = namm.bias_of(1, layers=4, heads=3)
    assert found is not None
    assert found.item() == pytest.approx(sum(range(6)) / 6)
    scores = namm(omega(5), torch.ones(2, 3, 5, dtype=torch.bool), found)
    assert scores.shape == (2, 3, 5)
