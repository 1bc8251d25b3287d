"""A model whose cache forgets, against a naive forward pass that hides what was dropped; the named checks of the issue."""

import copy
from dataclasses import dataclass

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicLayer

from kmem.encoder.hook import handling, hooked
from kmem.errors import AttachError, ConfigError, UnknownNameError, UnsupportedModelError, WrongTypeError
from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm
from kmem.runtime.manage import Heads, manage
from kmem.runtime.managed.naive import NaiveManager, namm_statistics
from kmem.runtime.managed.rules import Rules
from kmem.runtime.policies import H2O, Full, NammPolicy, Policy, Recency, Tokens
from tests.runtime.managing import CONFIG, Forget, Oracle, choosy, held, pieces, sizes_of, tensors_of, tokens
from tests.tiny import tiny_model

EXACT = 1e-9
TEXTS = ["The quick brown fox jumps over the lazy dog, and then it sleeps.", "Moon?", "Water boils at one hundred degrees."]


def naive(
    model: PreTrainedModel, ids: torch.Tensor, policy: Policy, budget: int | None, *, greediest: bool = False, prompt: int = 0
) -> tuple:  # type: ignore[type-arg]
    """Logits, and positions left by layer and head."""
    statistics = (lambda series: series.sum(-1)[..., None]) if not isinstance(policy, NammPolicy) else namm_statistics(policy)
    manager = NaiveManager(Rules(policy=policy, layers=2, budget=budget, greediest=greediest), statistics, prompt=prompt or ids.shape[1])
    with torch.inference_mode(), hooked(model), handling(manager):
        logits = model(ids, use_cache=False).logits
    return logits, [[head.nonzero()[:, 0].tolist() for head in manager.alive[layer]] for layer in sorted(manager.alive)]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gemma2"])
@pytest.mark.parametrize("policy", [Full(), Namm(CONFIG)], ids=["full", "namm of zeros"])
def test_keep_all_is_bit_identical(architecture: str, policy: Policy | Namm, tokenizer: PreTrainedTokenizerFast) -> None:
    """In prefill beyond several firings and in decode, with padding."""
    model = tiny_model(architecture)
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    plain = model.generate(
        **inputs, max_new_tokens=24, min_new_tokens=24, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    with manage(model, policy) as managed:
        found = model.generate(
            **inputs, max_new_tokens=24, min_new_tokens=24, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        assert managed.cache_fraction == 1
        assert managed.bytes()["cache"] == managed.bytes()["full"] > 0
    assert all(torch.equal(one, other) for one, other in zip(plain.logits, found.logits, strict=True))


@pytest.mark.parametrize(("architecture", "greediest"), [("qwen3", False), ("cohere", True)])
@pytest.mark.parametrize(
    ("policy", "budget"),
    [
        (NammPolicy(choosy()), None),
        (NammPolicy(choosy()), 11),
        (NammPolicy(choosy(type(CONFIG)(**{**CONFIG.to_dict(), "watch": 8}))), None),
        (H2O(delay=16, protect=2), 13),
        (Recency(delay=16, protect=2), 9),
        (Forget(), None),
    ],
    ids=["namm", "namm 11", "namm watch 8", "h2o", "recency", "forget"],
)
def test_it_is_the_naive_forward_pass(architecture: str, policy: Policy, budget: int | None, greediest: bool) -> None:
    """One-shot, in pieces of odd and even sizes, and token by token: the same kept sets and logits."""
    model, ids = tiny_model(architecture, dtype=torch.float64), tokens(83)
    whole = naive(model, ids, policy, budget, greediest=greediest)
    begun = naive(model, ids, policy, budget, greediest=greediest, prompt=50)
    assert any(len(head) < 70 for layer in whole[1] for head in layer)
    with torch.inference_mode(), manage(model, policy, budget, heads="greediest" if greediest else "own") as managed:
        for sizes in ([83], sizes_of(83, 16), sizes_of(83, 7), [20, 30, *[1] * 33]):
            found = pieces(model, ids, sizes)
            expected, alive = begun if sizes[-1] == 1 else whole
            torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)
            assert [layer[0] for layer in held(managed)] == alive
            assert managed.kept() == [[[len(head) for head in layer]] for layer in alive]


def test_tokens_without_attention_can_go() -> None:
    """An oracle drops, at each firing, the keys that no later query gives more than 1e-7: their loss changes logits by less than 1e-4."""
    model, ids = tiny_model(dtype=torch.float64), tokens(96)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.mul_(30)  # sharp attention, so that most tokens get none
        model.set_attn_implementation("eager")
        attentions = model(ids, output_attentions=True).attentions
        model.set_attn_implementation("sdpa")
        full = model(ids).logits
        given = [torch.unflatten(one[0], 0, (2, 2)).amax(1) for one in attentions]  # [H, q, n] by layer
    oracle = Oracle(given=given)
    with torch.inference_mode(), manage(model, oracle) as managed:
        found = pieces(model, ids, [40, 30, *[1] * 26])
        assert 0.2 < managed.cache_fraction < 0.95
    torch.testing.assert_close(found, full, rtol=0, atol=1e-4)


@pytest.mark.parametrize("watch", [0, 64])
def test_pieces_of_a_prompt_change_nothing(watch: int) -> None:
    """Pieces of 64, 128 and 512, and one: the same kept sets and logits, at the paper's frames; generate's own pieces, too."""
    model, ids = tiny_model("qwen3", dtype=torch.float64), tokens(700)
    policy = NammPolicy(choosy(NammConfig(delay=128, watch=watch)))
    with torch.inference_mode(), manage(model, policy) as managed:
        whole = pieces(model, ids, [700])
        left = held(managed)
        assert 0.05 < managed.cache_fraction < 0.9
        for size in (64, 128, 512):
            torch.testing.assert_close(pieces(model, ids, sizes_of(700, size)), whole, rtol=0, atol=EXACT)
            assert held(managed) == left
        answers = [
            model.generate(ids, max_new_tokens=20, do_sample=False, output_logits=True, return_dict_in_generate=True, **more)
            for more in ({}, {"prefill_chunk_size": 128})
        ]
    assert torch.equal(answers[0].sequences, answers[1].sequences)
    torch.testing.assert_close(torch.stack(answers[0].logits), torch.stack(answers[1].logits), rtol=0, atol=EXACT)


@pytest.mark.parametrize("heads", ["own", "greediest"])
def test_resident_bytes_fall_by_the_evicted_share(heads: Heads) -> None:
    model, ids = tiny_model(), tokens(256)
    with torch.inference_mode(), manage(model, choosy(), heads=heads) as managed:
        cache = DynamicCache(config=model.config)
        for start in range(0, 256, 64):
            model(ids[:, start : start + 64], past_key_values=cache)
            assert 0 < managed.cache_fraction < 0.95
            assert managed.bytes()["cache"] == managed.bytes()["full"] * managed.cache_fraction
            held_bytes = sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(cache))
            assert held_bytes == managed.bytes()["cache"] + managed.bytes()["statistics"] + managed.bytes()["index"]
        assert managed.bytes()["full"] == 4 * 2 * 256 * 2 * 8 * 4
        assert managed.seconds > 0


def test_heads_keep_as_many_as_the_greediest() -> None:
    """At the first firing: what the head that wants most wants, it alone gets; the others get as many, and all that they wanted."""
    model, ids = tiny_model(), tokens(CONFIG.delay + 1)
    found = {}
    with torch.inference_mode():
        for heads in ("own", "greediest"):
            with manage(model, choosy(), heads=heads) as managed:
                model(ids)
                found[heads] = [layer[0] for layer in held(managed)]
    assert any(len(layer[0]) != len(layer[1]) for layer in found["own"])
    for own, greedy in zip(found["own"], found["greediest"], strict=True):
        assert [len(head) for head in greedy] == [max(len(head) for head in own)] * 2
        assert all(set(one) <= set(other) for one, other in zip(own, greedy, strict=True))


@dataclass(frozen=True, kw_only=True)
class Nothing(Forget):
    """Wants nothing."""

    protect: int = 8

    def scores(self, tokens: Tokens) -> torch.Tensor:
        return -torch.ones_like(tokens.position, dtype=torch.float32)


@pytest.mark.parametrize("piece", [None, 24])
def test_the_tail_of_a_chat_template_stays(piece: int | None, tokenizer: PreTrainedTokenizerFast) -> None:
    """The turn's opening, behind the user's text: it stays although the policy wants nothing, with the newest tokens."""
    turns = "{% for message in messages %}<{{ message.role }}>{{ message.content }}</>{% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}<assist>{% endif %}"
    model, policy = tiny_model(), Nothing()
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": TEXTS[0]}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    prompt = inputs["input_ids"].shape[1]
    assert tokenizer.decode(inputs["input_ids"][0, -8:]) == "<assist>"
    with manage(model, policy) as managed:
        model.generate(**inputs, max_new_tokens=41, min_new_tokens=41, do_sample=False, prefill_chunk_size=piece)
        fired = (prompt + 40) // policy.delay * policy.delay
        expected = [*range(prompt - 8, prompt), *range(max(prompt, fired - 8), prompt + 40)]
        assert held(managed) == [[[expected] * 2]] * 4


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize("piece", [None, 8])
def test_padded_rows_are_as_alone(architecture: str, piece: int | None, tokenizer: PreTrainedTokenizerFast) -> None:
    """Each row fires at its own count, in a prompt read whole or in pieces, of which the first may be all padding."""
    model, policy = tiny_model(architecture, dtype=torch.float64), choosy()
    options = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with manage(model, policy) as managed:
        together = model.generate(**inputs, **options, prefill_chunk_size=piece)
        left = held(managed)
        for row, text in enumerate(TEXTS):
            alone = model.generate(**tokenizer(text, return_tensors="pt"), **options)
            assert torch.equal(together.sequences[row, -24:], alone.sequences[0, -24:])
            for one, other in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(one[row], other[0], rtol=0, atol=EXACT)
            assert [layer[0] for layer in held(managed)] == [layer[row] for layer in left]


def test_beams_score_what_they_say(tokenizer: PreTrainedTokenizerFast) -> None:
    """Rows are reordered while tokens are dropped: a beam's score is that of its own text."""
    model, policy = tiny_model(dtype=torch.float64), choosy()
    inputs = tokenizer(TEXTS[:2], return_tensors="pt", padding=True)
    length = inputs["input_ids"].shape[1]
    with torch.no_grad(), manage(model, policy):
        found = model.generate(
            **inputs, max_new_tokens=36, min_new_tokens=36, num_beams=3, num_return_sequences=3, do_sample=False, output_scores=True,
            return_dict_in_generate=True, length_penalty=0.0,
        )  # fmt: skip
        mask = torch.cat([inputs["attention_mask"].repeat_interleave(3, dim=0), torch.ones(6, 36, dtype=torch.int64)], dim=1)
        logits = pieces(model, found.sequences, [length, *[1] * 36], mask)[:, length - 1 : -1]
    said = logits.log_softmax(-1).gather(-1, found.sequences[:, length:, None])[..., 0].sum(-1)
    torch.testing.assert_close(found.sequences_scores.double(), said, rtol=0, atol=1e-4)


def test_a_copied_cache_goes_on_twice() -> None:
    model, ids = tiny_model(dtype=torch.float64), tokens(90, seed=3)
    with torch.inference_mode(), manage(model, choosy()):
        whole = model(ids).logits[:, 60:]
        cache = DynamicCache(config=model.config)
        model(ids[:, :60], past_key_values=cache)
        copied = copy.deepcopy(cache)
        for one in (cache, copied):
            torch.testing.assert_close(model(ids[:, 60:], past_key_values=one).logits, whole, rtol=0, atol=EXACT)


def test_rows_of_a_cache_can_be_chosen_and_repeated() -> None:
    model, ids = tiny_model(dtype=torch.float64), tokens(60, rows=3)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    order = torch.tensor([2, 1, 1])
    with torch.inference_mode(), manage(model, choosy()):
        cache = DynamicCache(config=model.config)
        expected = pieces(model, ids, [50, 10], mask)[order, 50:]
        model(ids[:, :50], attention_mask=mask[:, :50], position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, :50], past_key_values=cache)
        for change in ("select", "repeat"):
            other = copy.deepcopy(cache)
            chosen = order
            if change == "select":
                other.batch_select_indices(order)
            else:
                other.batch_repeat_interleave(2)
                chosen = torch.tensor([0, 0, 1, 1, 2, 2])
                expected = pieces(model, ids, [50, 10], mask)[chosen, 50:]
            found = model(
                ids[chosen, 50:], attention_mask=mask[chosen], position_ids=(mask.cumsum(-1) - 1)[chosen, 50:], past_key_values=other
            ).logits
            torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


def _read_and_stop(model: PreTrainedModel, ids: torch.Tensor, lossy: DynamicCache, whole: DynamicCache) -> None:
    model(ids, past_key_values=lossy)
    model(ids[:, :10], past_key_values=whole)
    raise KeyboardInterrupt


def test_nothing_is_left_behind() -> None:
    model, ids = tiny_model(), tokens(40)
    with torch.inference_mode():
        plain = model(ids).logits
        implementation = model.config._attn_implementation
        lossy, whole = DynamicCache(config=model.config), DynamicCache(config=model.config)
        with pytest.raises(KeyboardInterrupt), manage(model, choosy()):
            _read_and_stop(model, ids, lossy, whole)
        assert model.config._attn_implementation == implementation
        assert "forward" not in vars(model.get_decoder())
        assert torch.equal(model(ids).logits, plain)
        assert all(type(layer) is DynamicLayer for layer in whole.layers)
        torch.testing.assert_close(model(ids[:, 10:], past_key_values=whole).logits, plain[:, 10:], rtol=1e-4, atol=1e-4)
        with pytest.raises(AttachError, match="tokens of it are gone"):
            model(ids[:, :1], past_key_values=lossy)
        with manage(model, choosy()), pytest.raises(AttachError, match="in another block"):
            model(ids[:, :1], past_key_values=lossy)


def test_a_cache_filled_before_is_taken_over() -> None:
    """Nothing was watched then: the policy knows of those tokens what it sees from now on, and their end as a prompt's."""
    model, ids = tiny_model(), tokens(60)
    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        model(ids[:, :22], past_key_values=cache)
        with manage(model, Recency(delay=16, protect=2, sinks=1), budget=6) as managed:
            model(ids[:, 22:], past_key_values=cache)
            assert held(managed)[0][0][0] == [0, *range(43, 60)]
        with manage(model, choosy()) as managed:
            fresh = DynamicCache(config=model.config)
            model(ids[:, :22], past_key_values=fresh)
    assert managed.cache_fraction < 1


def test_what_can_not_be_managed_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    model, ids = tiny_model(), tokens(40)
    for other, match in (("mistral", "sliding window"), ("bmojo", "cache of its own")):
        with pytest.raises(UnsupportedModelError, match=match):
            manage(tiny_model(other), "full")
    with pytest.raises(ConfigError, match=r"pass budget="):
        manage(model, "h2o")
    with pytest.raises(ConfigError, match="budget must be at least 8"):
        manage(model, "h2o", budget=3)
    with pytest.raises(UnknownNameError, match="policy 'h20'"):
        manage(model, "h20")
    with pytest.raises(UnknownNameError, match="heads 'all'"):
        manage(model, "full", heads="all")  # type: ignore[arg-type]
    with pytest.raises(WrongTypeError, match="A policy is a name"):
        manage(model, 5)  # type: ignore[arg-type]
    with pytest.raises(WrongTypeError, match="needs a transformers model"):
        manage("smollm2", "full")
    with torch.inference_mode(), manage(model, choosy()):
        with pytest.raises(AttachError, match="already"), manage(model, "full"):
            pass
        with pytest.raises(UnsupportedModelError, match="StaticCache"):
            model.generate(ids, max_new_tokens=2, cache_implementation="static")
        with pytest.raises(UnsupportedModelError, match="use_cache=False"):
            model(ids, use_cache=False)
        with pytest.raises(UnsupportedModelError, match="two dimensions"):
            model(ids, attention_mask=torch.ones(1, 1, 40, 40, dtype=torch.bool))
        mask = torch.ones_like(ids)
        mask[0, -3:] = 0
        with pytest.raises(UnsupportedModelError, match="pad on the left"):
            model(ids, attention_mask=mask)
        with pytest.raises(UnsupportedModelError, match="can't take tokens back"):
            model.generate(ids, max_new_tokens=20, min_new_tokens=20, prompt_lookup_num_tokens=3)
