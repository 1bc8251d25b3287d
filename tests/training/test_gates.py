"""Gates of 0 and 1 are a bank with that budget; what lies between has the gradient that small steps show."""

import pytest
import torch
from transformers import PreTrainedModel

from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import dense_profile
from kmem.profile import Profile
from kmem.training.gates import GatedReader, gated_nll, gates_of
from kmem.training.passages import Passage
from kmem.training.probes import PROBES, Probe, target_nll
from kmem.training.ranked import RankedMemories, rank_memories
from tests.tiny import BMOJO, SCALED_LOGITS, SHORT_WINDOWED, byte_tokenizer, tiny_model

PASSAGES = (
    Passage("Fox", "A quick brown animal that jumps over lazy dogs."),
    Passage("Iron", "A metal that rusts in wet air, and has the symbol Fe."),
    Passage("Chess", "A game."),
    Passage("Paris", "The capital of France, on the river Seine; it is known for its tower."),
    Passage("Sonnet", "A poem of fourteen lines."),
)
BUDGET = ((0, 5), (128, 0), (40, 8), (1, 64))
LIKE = Profile(name="t", budget=BUDGET, suffix="\n", align="start")


def setting(architecture: str) -> tuple[PreTrainedModel, Encoder, RankedMemories, list[Probe]]:
    model, tokenizer = tiny_model(architecture), byte_tokenizer()
    model.requires_grad_(False)
    probes = [probe for passage in PASSAGES if (probe := PROBES["title"](tokenizer, passage)) is not None]
    ranked = rank_memories(Encoder(model, tokenizer, dense_profile(4, 2, like=LIKE)), [probe.reference for probe in probes])
    return model, Encoder(model, tokenizer, LIKE), ranked, probes


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", *SHORT_WINDOWED, *SCALED_LOGITS, BMOJO])
def test_whole_gates_read_what_a_bank_with_that_budget_reads(architecture: str) -> None:
    model, encoder, ranked, probes = setting(architecture)
    rows = torch.arange(len(probes))[:, None]
    with torch.inference_mode():
        gated = gated_nll(model, probes, GatedReader(ranked, rows, gates_of(BUDGET)))
    memories = encoder.encode_tokens([probe.reference for probe in probes], list(range(5)))
    for row, probe in enumerate(probes):
        alone = target_nll(model, probe.context, probe.target, memories.take([row]))
        assert float(gated[row]) == pytest.approx(alone, rel=1e-4)


def test_five_at_once_are_what_five_attached_memories_are() -> None:
    model, encoder, ranked, probes = setting("llama")
    memories = encoder.encode_tokens([probe.reference for probe in probes], list(range(5)))
    with torch.inference_mode():
        gated = gated_nll(model, probes[:1], GatedReader(ranked, torch.tensor([[0, 1, 2, 3, 4]]), gates_of(BUDGET)))
    assert float(gated[0]) == pytest.approx(target_nll(model, probes[0].context, probes[0].target, memories), rel=1e-4)


def test_gradients_are_those_that_small_steps_show_also_where_a_gate_is_closed() -> None:
    model, _, ranked, probes = setting("llama")
    rows = torch.arange(len(probes))[:, None]
    gates = gates_of(BUDGET).requires_grad_()
    (gradient,) = torch.autograd.grad(gated_nll(model, probes, GatedReader(ranked, rows, gates)).sum(), gates)
    for place in ((0, 0, 1, 2), (0, 0, 0, 0), (0, 2, 0, 3), (0, 3, 1, 1)):
        moved = []
        for step in (1e-2, 0.0) if gates[place] == 0 else (0.0, -1e-2):
            changed = gates.detach().clone()
            changed[place] += step
            with torch.inference_mode():
                moved.append(float(gated_nll(model, probes, GatedReader(ranked, rows, changed)).double().sum()))
        assert (moved[0] - moved[1]) / 1e-2 == pytest.approx(float(gradient[place]), rel=0.1, abs=0.02)


def test_padding_of_a_batch_changes_nothing() -> None:
    model, _, ranked, probes = setting("llama")
    with torch.inference_mode():
        together = gated_nll(model, probes, GatedReader(ranked, torch.arange(5)[:, None], gates_of(BUDGET)))
        for row, probe in enumerate(probes):
            alone = gated_nll(model, [probe], GatedReader(ranked, torch.tensor([[row]]), gates_of(BUDGET)))
            torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)


def test_memories_gates_and_rows_follow_the_query_to_its_device() -> None:
    """The meta device stands for any other: mixing it with this one's numbers raises, as on a GPU."""
    model, _, ranked, _ = setting("llama")
    reader = GatedReader(ranked, torch.tensor([[0, 1], [1, 2]]), gates_of(BUDGET))
    query, key = torch.empty(2, 4, 3, 8, device="meta"), torch.empty(2, 2, 3, 8, device="meta")
    attention = model.get_decoder().layers[1].self_attn
    output, _ = reader.attend(attention, query, key, key, None, {})
    assert (output.device.type, tuple(output.shape)) == ("meta", (2, 3, 4, 8))
