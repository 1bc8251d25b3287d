"""The chunked scan against the recurrence, and both against transformers' Mamba-2 with the same parameters."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from kmem.kernels.ssd_scan import naive, ssd_scan

HEADS, GROUPS, DIM, STATE = 4, 2, 8, 6
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
LENGTHS = (1, 63, 64, 65, 200)


def inputs(length: int, *, batch: int = 2, dtype: torch.dtype = torch.float64, fade: float = 0.3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Value, log_decay, key and query."""
    random = torch.Generator().manual_seed(length)

    def noise(*shape: int) -> Tensor:
        return torch.randn(batch, length, *shape, generator=random, dtype=torch.float64).to(dtype)

    return noise(HEADS, DIM), -fade * F.softplus(noise(HEADS)), noise(GROUPS, STATE), noise(GROUPS, STATE)


def close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[found.dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("begins", [False, True], ids=["empty", "with a state"])
def test_chunks_equal_the_recurrence(length: int, dtype: torch.dtype, begins: bool) -> None:
    given = inputs(length, dtype=dtype)
    state = torch.randn(2, HEADS, DIM, STATE, generator=torch.Generator().manual_seed(1)).to(dtype) if begins else None
    for found, expected in zip(ssd_scan(*given, state), naive.ssd_scan(*given, state), strict=True):
        close(found, expected)


@pytest.mark.parametrize("fade", [0.0, 40.0])
def test_decays_of_nothing_and_of_everything(fade: float) -> None:
    given = inputs(130, fade=fade, dtype=torch.float32)
    close(ssd_scan(*given)[0], naive.ssd_scan(*given)[0])


@pytest.mark.parametrize("cut", [0, 1, 64, 77, 200])
def test_a_state_carries_what_came_before(cut: int) -> None:
    given = inputs(200)
    whole, last = ssd_scan(*given)
    value, log_decay, key, query = given
    head, state = ssd_scan(value[:, :cut], log_decay[:, :cut], key[:, :cut], query[:, :cut])
    tail, after = ssd_scan(value[:, cut:], log_decay[:, cut:], key[:, cut:], query[:, cut:], state)
    close(torch.cat([head, tail], dim=1), whole)
    close(after, last)


def test_gradients_equal_the_recurrences() -> None:
    gradients = []
    for scan in (ssd_scan, naive.ssd_scan):
        given = inputs(70)
        for part in given:
            part.requires_grad_()
        state = torch.ones(2, HEADS, DIM, STATE, dtype=torch.float64, requires_grad=True)
        output, last = scan(*given, state)
        gradients.append(torch.autograd.grad(output.square().sum() + last.sin().sum(), [*given, state]))
    for found, expected in zip(*gradients, strict=True):
        close(found, expected)


def test_bfloat16_is_computed_in_float32() -> None:
    given = inputs(65, dtype=torch.bfloat16)
    output, state = ssd_scan(*given)
    assert output.dtype == state.dtype == torch.float32
    close(output, naive.ssd_scan(*given)[0])


@pytest.mark.parametrize("length", [1, 65])
def test_the_scan_is_mamba_2s(length: int) -> None:
    """Transformers' mixer (its torch path) with the scan between its own projections, convolution and norm."""
    torch.manual_seed(0)
    config = Mamba2Config(
        hidden_size=16, expand=2, num_heads=HEADS, head_dim=DIM, state_size=STATE, n_groups=GROUPS, num_hidden_layers=1, chunk_size=16
    )
    mixer: Any = Mamba2Mixer(config, layer_idx=0).eval()
    hidden = torch.randn(2, length, 16)
    with torch.no_grad():
        gate, mixed, step = torch.split(mixer.in_proj(hidden), [32, mixer.conv_dim, HEADS], dim=-1)
        mixed = F.silu(mixer.conv1d(mixed.mT)[..., :length].mT)
        value, key, query = torch.split(mixed, [32, GROUPS * STATE, GROUPS * STATE], dim=-1)
        step, value = F.softplus(step + mixer.dt_bias), torch.unflatten(value, -1, (HEADS, DIM))
        output, _ = ssd_scan(
            value * step[..., None],
            -mixer.A_log.exp() * step,
            torch.unflatten(key, -1, (GROUPS, STATE)),
            torch.unflatten(query, -1, (GROUPS, STATE)),
        )
        output = output + mixer.D[:, None] * value
        found = mixer.out_proj(mixer.norm(output.flatten(2), gate))
        close(found, mixer(hidden))
