"""A policy that also says which attached memories go on being read: against the kernels' own attention mass, replays and rows alone."""

from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.encoder.encode import Encoder
from kmem.errors import ConfigError, WrongTypeError
from kmem.kstore.bank import Bank
from kmem.memories import Memories
from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm
from kmem.profile import Profile
from kmem.runtime.manage import manage
from kmem.runtime.policies import H2O, NammPolicy, Policy
from kmem.runtime.session import Session
from tests.runtime.conftest import TEXTS
from tests.runtime.managing import choosy
from tests.tiny import byte_tokenizer, tiny_model, uniform_budget

BUDGET = ((3, 5), (0, 4), (8, 2), (1, 0))
GENERATE = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
PROMPT = "Which animal jumps over the lazy dog in the well-known sentence?"


def five(model: PreTrainedModel, *, budget: tuple[tuple[int, ...], ...] = BUDGET) -> Memories:
    return Encoder(model, byte_tokenizer(), Profile(name="t", budget=budget)).encode(list(TEXTS[:5]))


def loudness() -> Namm:
    """The more a token was read on average, the higher its score: the weight of the spectrum's first bin alone."""
    namm = Namm(NammConfig(scorer="mlp", delay=64, protect=1))
    with torch.no_grad():
        namm.net.score.weight[0, namm.config.recency] = 1.0
    return namm


def last_ids(memory: Session, row: int = 0) -> tuple[int, ...]:
    return [span.ids for span in memory.schedule if span.row == row][-1]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2"])
def test_those_stay_that_were_read_most(architecture: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """H2O's sums of columns rank memories as the attention kernel's own mass does, which `trace` has; two of five stay."""
    model = tiny_model(architecture, dtype=torch.float64)
    memories = five(model, budget=uniform_budget(6))
    inputs = tokenizer(PROMPT, return_tensors="pt")
    with kmem.attach(model, memories) as memory, manage(model, H2O(), budget=2000, memories=memory):
        model.generate(**inputs, **GENERATE)
        spans = memory.trace
    assert [len(span.reads) for span in spans] == [5, 2]
    if architecture != "gemma2":  # whose windowed layers are not managed and have no say
        mass = {read.id: read.attention for read in spans[0].reads}
        assert {read.id for read in spans[1].reads} == set(sorted(mass, key=lambda one: -mass[one])[:2])


@pytest.mark.parametrize("policy", [NammPolicy(choosy()), NammPolicy(loudness())], ids=["choosy", "loudness"])
def test_what_stays_is_what_is_read(policy: Policy, tokenizer: PreTrainedTokenizerFast) -> None:
    """The answer is that of the same spans replayed, under the same policy of the cache; pieces of a prompt change nothing."""
    model = tiny_model(dtype=torch.float64)
    memories, inputs = five(model), tokenizer(PROMPT + PROMPT, return_tensors="pt")
    with kmem.attach(model, memories) as memory, manage(model, policy, memories=memory, share=0.6):
        found = model.generate(**inputs, **GENERATE)
        schedule = memory.schedule
        whole = last_ids(memory)
        model.generate(**inputs, **GENERATE, prefill_chunk_size=48)
        assert last_ids(memory) == whole
    assert len(whole) == 3 < len(schedule[0].ids) == 5
    with kmem.attach(model, memories, schedule=schedule) as memory, manage(model, policy, memories=memory):
        replayed = model.generate(**inputs, **GENERATE)
        assert memory.schedule == schedule
    torch.testing.assert_close(torch.stack(found.logits), torch.stack(replayed.logits), rtol=0, atol=1e-9)


def test_rows_decide_alone(bank: Bank, tokenizer: PreTrainedTokenizerFast) -> None:
    """With padding and a search of each row's own; in a second turn, too, and nothing is dropped where every chunk retrieves anew."""
    model = tiny_model(dtype=torch.float32)
    texts = [PROMPT, "Moon?"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    policy = loudness()
    with kmem.attach(model, bank, tokenizer=tokenizer, mode="once", top_k=4) as memory, manage(model, policy, memories=memory):
        model.generate(**inputs, **GENERATE)
        together = [last_ids(memory, row) for row in range(2)]
        assert [len(ids) for ids in together] == [2, 2]
        for row, text in enumerate(texts):
            model.generate(**tokenizer(text, return_tensors="pt"), **GENERATE)
            assert last_ids(memory) == together[row]
        again = model.generate(**tokenizer(texts[1], return_tensors="pt"), **GENERATE)
        longer = torch.cat([again.sequences, inputs["input_ids"][:1, -5:]], dim=1)
        model.generate(longer, past_key_values=again.past_key_values, **GENERATE)
        assert len(last_ids(memory)) == 1
        assert set(last_ids(memory)) < set(together[1])
    with kmem.attach(model, bank, tokenizer=tokenizer, mode="shifted", top_k=4, every=8) as memory, manage(model, policy, memories=memory):
        model.generate(**inputs, **GENERATE)
        assert {len(span.ids) for span in memory.schedule} == {0, 4}


def test_one_right_memory_of_five(tokenizer: PreTrainedTokenizerFast) -> None:
    """The right one's keys are what the prompt's queries look for: its answer keeps 0.95 of its probability with two memories of five,
    and loses it where those stay that are read least.
    """
    model = tiny_model(dtype=torch.float64)
    memories = five(model, budget=uniform_budget(8))
    inputs = tokenizer(PROMPT, return_tensors="pt")
    kv = memories.kv.clone()
    kv[:, 0] *= 0.1
    kv[3, 0] = memories.kv[3, 0] * 2
    kv[3, 1] *= 4
    memories = replace(memories, kv=kv)

    def reads(policy: Namm, share: float) -> tuple[tuple[int, ...], torch.Tensor]:
        with kmem.attach(model, memories) as memory, manage(model, policy, memories=memory, share=share):
            found = model.generate(**inputs, **GENERATE)
            return last_ids(memory), torch.stack(found.logits, dim=1)[0].softmax(-1)

    opposite = loudness()
    with torch.no_grad():
        opposite.net.score.weight.neg_()
        opposite.net.score.bias.fill_(1e3)  # the cache's own tokens stay
    everyone, full = reads(loudness(), 1.0)
    assert len(everyone) == 5
    kept, found = reads(loudness(), 0.5)
    lost, other = reads(opposite, 0.5)
    assert memories.ids[3] in kept
    assert memories.ids[3] not in lost
    assert len(kept) == len(lost) == 2
    answer = full[1:2].argmax(-1)  # the first token after what was dropped
    share, worst = (float(one[1, answer] / full[1, answer]) for one in (found, other))
    assert share >= 0.95 > worst


def test_what_can_not_be() -> None:
    model = tiny_model()
    memories = five(model)
    with kmem.attach(model, memories) as memory:
        with pytest.raises(ConfigError, match="look at attention"):
            manage(model, "recency", budget=9, memories=memory)
        with pytest.raises(ConfigError, match="share must lie between 0 and 1"):
            manage(model, loudness(), memories=memory, share=0.0)
        with pytest.raises(WrongTypeError, match="memories= takes what"):
            manage(model, loudness(), memories=memories)  # type: ignore[arg-type]
