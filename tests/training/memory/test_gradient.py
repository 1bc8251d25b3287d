"""What is trained reads what `kmem.attach` reads, and its gradient is the one that small steps show, also through what was written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from kmem.encoder.encode import Encoder
from kmem.encoder.hook import handling, hooked
from kmem.encoder.select import LayerView
from kmem.runtime.attach import attach
from kmem.runtime.schedule import Span
from kmem.training.memory.example import Example
from kmem.training.memory.layout import segments_of
from kmem.training.memory.objective import loss_of, reading_logits
from kmem.training.memory.reading import Reader
from kmem.training.memory.recipe import LossConfig
from kmem.training.memory.writing import write_memories
from kmem.training.probes.losses import target_losses
from tests.tiny import ARCHITECTURES, BMOJO, SCALED_LOGITS, SHORT_WINDOWED
from tests.training.memory.tiny import PROFILE, REFERENCES, tiny_encoder

TEXT = tuple(b"Which lake lies in the north, and does iron rust there?")
FIXED = replace(PROFILE, selector="first")
"""Whose choice no small step can change."""
EXAMPLES = (
    Example(context=TEXT[:1], target=TEXT[1:], reads=((0, 16, (2,)), (16, 32, (0, 2)), (32, len(TEXT), (1, 0, 2)))),
    Example(context=TEXT[:9], target=TEXT[9:20], reads=((0, 20, (3, 1)),), taught=(65, 66, *TEXT[:9])),
    Example(context=TEXT[:5], target=TEXT[5:30], reads=((8, 30, (3,)),)),
)


def nll(encoder: Encoder, examples: tuple[Example, ...] = EXAMPLES) -> torch.Tensor:
    targets = torch.tensor([token for example in examples for token in example.target])
    return cross_entropy(reading_logits(encoder, examples, REFERENCES), targets, reduction="sum")


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *SHORT_WINDOWED, *SCALED_LOGITS, BMOJO])
def test_it_reads_what_attach_reads(architecture: str) -> None:
    encoder = tiny_encoder(architecture=architecture)
    memories = encoder.encode_tokens(REFERENCES, range(4))
    schedule = [Span(row=row, start=start, stop=stop, ids=ids) for row, each in enumerate(EXAMPLES) for start, stop, ids in each.reads]
    asked = [(example.context, example.target) for example in EXAMPLES]
    with torch.inference_mode():
        with attach(encoder.model, memories, schedule=schedule):
            attached = target_losses(encoder.model, asked)
        assert float(nll(encoder)) == pytest.approx(float(attached.sum()), rel=1e-5)
        assert float(nll(encoder)) != pytest.approx(float(target_losses(encoder.model, asked).sum()), rel=1e-4)


def test_written_memories_are_those_of_a_bank() -> None:
    encoder = tiny_encoder()
    memories = encoder.encode_tokens(REFERENCES, range(4))
    written = write_memories(encoder, REFERENCES, range(4))
    assert torch.allclose(torch.cat(written.key, dim=1), memories.kv[:, 0], atol=1e-5)
    assert torch.allclose(torch.cat(written.value, dim=1), memories.kv[:, 1], atol=1e-5)
    assert torch.equal(torch.cat(written.filled, dim=1), memories.filled)
    assert torch.allclose(written.bracket, encoder.spec.bracket, atol=1e-6)


def test_gradients_are_those_that_small_steps_show() -> None:
    """The value projection of layer 1 feeds what is kept of layers 2 and 1, and what is read. Norms are float32 in a float64 model."""
    encoder = tiny_encoder(FIXED)
    model = encoder.model.double()
    weight = model.model.layers[1].self_attn.v_proj.weight.requires_grad_()
    (gradient,) = torch.autograd.grad(nll(encoder), weight)
    for place in ((0, 0), (3, 17), (11, 5)):
        assert float(gradient[place]) == pytest.approx(slope(lambda: nll(encoder), weight, place), rel=5e-3)


def test_the_gradient_flows_through_kept_keys_and_values_alone() -> None:
    """Another model of the same weights reads, and has no gradient: reference → kept keys and values → loss is the one path left."""
    encoder, reader = tiny_encoder(FIXED), tiny_encoder().model.double()
    model = encoder.model.double()
    example = EXAMPLES[0]
    segments = segments_of([example.reads], {0: 0, 1: 1, 2: 2})
    assert segments is not None

    def read() -> torch.Tensor:
        written = write_memories(encoder, REFERENCES[:3], range(3))
        with hooked(reader), handling(Reader(written, FIXED, segments)):
            return target_losses(reader, [(example.context, example.target)]).sum()

    for weight in (model.model.layers[0].self_attn.k_proj.weight, model.model.layers[1].mlp.up_proj.weight):
        weight.requires_grad_()
        (gradient,) = torch.autograd.grad(read(), weight)
        place = divmod(int(gradient.abs().argmax()), weight.shape[1])
        assert abs(float(gradient[place])) > 0.5
        assert float(gradient[place]) == pytest.approx(slope(read, weight, place), rel=5e-3)


def test_what_the_profile_has_no_place_for_gets_no_gradient() -> None:
    """Layer 3 keeps nothing, so nothing of a reference goes through it; layer 2 is left before its own MLP."""
    encoder = tiny_encoder()
    encoder.model.requires_grad_(True)
    written = write_memories(encoder, REFERENCES, range(4))
    sum(states.square().sum() for states in (*written.key, *written.value)).backward()  # type: ignore[union-attr]
    layers = encoder.model.model.layers
    assert layers[1].mlp.up_proj.weight.grad is not None
    assert layers[2].self_attn.k_proj.weight.grad is not None
    assert layers[2].mlp.up_proj.weight.grad is None
    assert layers[3].self_attn.k_proj.weight.grad is None


def slope(loss: Callable[[], torch.Tensor], weight: torch.Tensor, place: tuple[int, int], step: float = 1e-3) -> float:
    """By central differences."""
    found = []
    with torch.no_grad():
        for sign in (1, -1):
            weight[place] += sign * step
            found.append(float(loss()))
            weight[place] -= sign * step
    return (found[0] - found[1]) / (2 * step)


def test_the_choice_of_tokens_has_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder()
    encoder.model.requires_grad_(True)
    seen = []

    def score(view: LayerView) -> torch.Tensor:
        seen.append(view.query.requires_grad or view.key.requires_grad or view.hidden.requires_grad)
        return view.key.sum(-1)

    monkeypatch.setattr(encoder, "score", score)
    write_memories(encoder, REFERENCES, range(4))
    assert seen == [False, False, False]


@contextmanager
def teaching(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    yield model


def test_the_loss_is_the_mean_of_what_each_token_costs() -> None:
    encoder = tiny_encoder()
    teacher = tiny_encoder().model
    weights = LossConfig(text=0.5, next_token=2.0, distillation=0.25)
    found = loss_of(encoder, EXAMPLES, REFERENCES, weights, lambda: teaching(teacher))
    logits = reading_logits(encoder, EXAMPLES, REFERENCES).log_softmax(-1)
    sizes = [len(example.target) for example in EXAMPLES]
    logs = torch.split(logits, sizes)
    asked = logs[1]
    each = [-log.gather(1, torch.tensor(example.target)[:, None])[:, 0] for log, example in zip(logs, EXAMPLES, strict=True)]
    costs, own = torch.cat([each[0], each[2]]), each[1]
    taught = teacher(torch.tensor([[65, 66, *TEXT[:20]]])).logits[0, 10:21].log_softmax(-1)
    told = (taught.exp() * (taught - asked)).sum(-1)
    assert float(found.total) == pytest.approx((0.5 * costs.sum() + 2 * own.sum() + 0.25 * told.sum()).item() / sum(sizes), rel=1e-4)
    assert found.parts == {
        "text": pytest.approx(float(costs.mean()), rel=1e-4),
        "next_token": pytest.approx(float(own.mean()), rel=1e-4),
        "distillation": pytest.approx(float(told.mean()), rel=1e-4),
    }
