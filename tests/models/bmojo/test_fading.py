"""The fading memory is Mamba-2's mixer: transformers' parameters load into it and give the same numbers."""

import pytest
import torch
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from kmem.models.bmojo.fading import FadingMemory
from tests.models.bmojo.shapes import config


@pytest.mark.parametrize("length", [1, 3, 65])
@torch.no_grad()
def test_it_equals_mamba_2_with_the_same_parameters(length: int) -> None:
    ours = config()
    torch.manual_seed(0)
    theirs = Mamba2Mixer(
        Mamba2Config(
            hidden_size=32, expand=2, num_heads=4, head_dim=16, state_size=8, n_groups=2, num_hidden_layers=1, chunk_size=16,
            layer_norm_epsilon=ours.rms_norm_eps,
        ),
        layer_idx=0,
    ).eval()  # fmt: skip
    memory = FadingMemory(ours)
    memory.load_state_dict(theirs.state_dict())
    hidden = torch.randn(2, length, 32)
    torch.testing.assert_close(memory(hidden, {})[0], theirs(hidden), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_heads_start_at_the_rates_and_time_steps_of_mamba_2() -> None:
    memory = FadingMemory(config())
    torch.testing.assert_close(memory.A_log.exp(), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    steps = torch.nn.functional.softplus(memory.dt_bias)
    assert ((steps > 0.001 - 1e-6) & (steps < 0.1 + 1e-6)).all()
