"""A B'MOJO model writes banks and reads them: memories beside its window, fading and eidetic keys, under the same softmax."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

import kmem
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.hidden import HiddenStates
from kmem.encoder.load import load_model
from kmem.encoder.select import LayerView
from kmem.errors import IdentityMismatchError, UnsupportedModelError
from kmem.kstore.bank import open_bank
from kmem.memories import Memories
from kmem.models.bmojo import BMojoForCausalLM, naive
from kmem.models.bmojo.innovation import average_before, prediction_error
from kmem.models.bmojo.priority import by_error, positions
from kmem.pipelines.config import BuildConfig
from kmem.profile import Profile
from tests.models.bmojo.shapes import STORES, model
from tests.runtime.conftest import TEXTS
from tests.tiny import HashEmbedder, byte_tokenizer, tiny_model, uniform_budget, write_tiny_bank

BYTES: dict[str, Any] = {"vocab_size": 259, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
READERS = [
    *(pytest.param({"variant": name}, id=name) for name in ("bmojo_f", "swa", "random_m")),
    *(pytest.param(changes, id=name) for name, changes in STORES.items() if "retrieved" not in name),
    pytest.param({"mixers": ("ssm", "bmojo")}, id="after a state space"),
]
EVERYTHING = {"eidetic": None, "fading": 0}


def reader(**changes: Any) -> BMojoForCausalLM:
    return model(**BYTES, **changes)


def profile_of(built: BMojoForCausalLM, tokens: int = 8, **more: Any) -> Profile:
    layers = examine(built).layers
    return Profile(**{"name": "t", "budget": uniform_budget(tokens, layers), "suffix": "\n", "selector": "innovation", **more})


def two_memories(built: BMojoForCausalLM) -> Memories:
    """Budgets that differ by head; the second reference is shorter than one of them."""
    budget = tuple((9, 5 * layer) for layer in range(1, 1 + examine(built).layers))
    return Encoder(built, byte_tokenizer(), profile_of(built, budget=budget)).encode([TEXTS[0], "Short."])


def context(length: int = 50, rows: int = 2) -> Tensor:
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(length))


def beside(memories: Memories, layer: int) -> naive.Beside:
    """Bracket and all memories as one layer's heads see them, from the record's layout alone."""
    profile, bracket = memories.spec.profile, memories.spec.bracket[layer]
    own = torch.from_numpy(profile.slot_layer == layer)
    of_head = torch.from_numpy(profile.slot_head)[own] == torch.arange(profile.heads)[:, None]
    slots = memories.kv[:, :, own].transpose(0, 1).flatten(1, 2)[:, None].expand(-1, profile.heads, -1, -1)
    key, value = torch.cat([bracket, slots], dim=2)
    filled = (memories.filled[:, own] & of_head[:, None]).flatten(1)
    return naive.Beside(key, value, torch.cat([filled.new_ones(profile.heads, bracket.shape[2]), filled], dim=1))


def by_hand(built: BMojoForCausalLM, ids: Tensor, memories: Memories) -> Tensor:
    """Logits, every attention written out as masks over all tokens, read-outs and memories."""
    hidden = built.model.embed_tokens(ids)
    rotation = built.model.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
    blocks: Any = built.model.layers
    for block in blocks:
        normed = block.mixer_norm(hidden)
        if block.attends:
            mixed = naive.mix(block.mixer, normed, rotation, beside(memories, block.mixer.layer_idx))
        else:
            mixed, _ = block.mixer(normed, {}, 0)
        hidden = hidden + mixed
        hidden = hidden if block.mlp is None else hidden + block.mlp(block.mlp_norm(hidden))
    logits: Tensor = built.lm_head(built.model.norm(hidden))
    return logits


@pytest.mark.parametrize("changes", READERS)
@torch.no_grad()
def test_reading_equals_masks_over_tokens_and_memories(changes: dict[str, Any]) -> None:
    built, ids = reader(**changes), context()
    memories = two_memories(built)
    bare = built(ids).logits
    with kmem.attach(built, memories) as memory:
        found = built(ids).logits
        (span, _) = memory.trace
        assert all(read.attention > 0 for read in span.reads)
    torch.testing.assert_close(found, by_hand(built, ids, memories), rtol=1e-9, atol=1e-9)
    assert float((found - bare).abs().max()) > 0.01


def test_gradients_equal_those_through_masks() -> None:
    built, ids = reader(), context(30, rows=1)
    memories = two_memories(built)
    layers: Any = built.model.layers
    weight = layers[0].mixer.attention.k_proj.weight
    with kmem.attach(built, memories):
        (found,) = torch.autograd.grad(built(ids).logits.sin().sum(), weight)
    (expected,) = torch.autograd.grad(by_hand(built, ids, memories).sin().sum(), weight)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_bfloat16_reads_what_float32_reads_within_its_rounding() -> None:
    built, ids = reader().to(torch.bfloat16), context()
    memories = two_memories(built)
    with kmem.attach(built, memories):
        found = built(ids).logits
    assert found.dtype == torch.bfloat16
    built.float()
    spec = replace(memories.spec, bracket=memories.spec.bracket.float())
    expected = by_hand(built, ids, replace(memories, kv=memories.kv.float(), spec=spec))
    assert float((found - expected).norm() / expected.norm()) < 0.05


@torch.no_grad()
def test_texts_are_found_by_the_model_s_own_hidden_states() -> None:
    built = reader(mixers=("ssm", "bmojo"))
    states = HiddenStates(built, byte_tokenizer())
    vectors, queries = states.embed(TEXTS), states.embed_queries(TEXTS[:3])
    assert (vectors @ queries.T).argmax(axis=0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("changes", [{}, STORES["threshold, growing"], STORES["retrieved from growing"], {"variant": "transformer"}])
@torch.no_grad()
def test_in_any_pieces_the_same_is_read(changes: dict[str, Any]) -> None:
    built, ids = reader(**changes), context(60)
    with kmem.attach(built, two_memories(built)):
        whole = built(ids).logits
        for cuts in ([60], [1] * 60, [7, 8, 1, 20, 24]):
            cache, pieces = None, []
            for piece in torch.split(ids, cuts, dim=1):
                output = built(piece, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                pieces.append(output.logits)
            torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("changes", [EVERYTHING, {**EVERYTHING, "rope_base": None}, {"variant": "transformer"}])
@pytest.mark.parametrize(("length", "align"), [(128, "end"), (40, "start"), (40, "end")])
@torch.no_grad()
def test_a_dense_memory_is_the_text_in_place_where_nothing_fades(changes: dict[str, Any], length: int, align: str) -> None:
    built = reader(**changes)
    encoder = Encoder(built, byte_tokenizer(), profile_of(built, 128, suffix="", align=align))
    reference, ids = context(length, rows=1), context(30, rows=1)
    memories = encoder.encode_tokens(reference.tolist(), [1])
    bracket = encoder.bracket
    text = torch.cat([torch.tensor([bracket.prefix]), reference, ids], dim=1)
    places = torch.tensor([[*bracket.prefix_positions(), *bracket.chunk_positions(length), *range(30)]])
    expected = built.lm_head(built.model(text, position_ids=places).last_hidden_state[:, -30:])
    with kmem.attach(built, memories):
        torch.testing.assert_close(built(ids).logits, expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_nothing_retrieved_is_the_model_alone_and_no_trace_is_left() -> None:
    built, ids = reader(), context()
    before, names = built(ids).logits, set(vars(built.model))
    memories = two_memories(built)
    with kmem.attach(built, memories, schedule=[]):
        assert torch.equal(built(ids).logits, before)
    with suppress(KeyboardInterrupt), kmem.attach(built, memories):
        cache = built(ids, use_cache=True).past_key_values
        assert not torch.equal(built(ids).logits, before)
        raise KeyboardInterrupt
    assert built.config._attn_implementation == "sdpa"
    assert set(vars(built.model)) == names
    assert not [name for name in vars(cache) if name.startswith("_kmem")]
    assert torch.equal(built(ids).logits, before)


@torch.no_grad()
def test_tokens_are_kept_as_the_layers_own_store_ranks_them() -> None:
    """On the reference's own tokens, by what each layer is given."""
    built, tokenizer = reader(), byte_tokenizer()
    encoder = Encoder(built, tokenizer, profile_of(built))
    reference, given = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"], []

    def look(view: LayerView) -> None:
        given.append(view.hidden)

    encoder.each_layer([reference], [1], look)
    kept = encoder.encode_tokens([reference], [1]).slot_position.view(2, 2, 8)
    for layer, hidden in enumerate(given):
        ranked = by_error(prediction_error(hidden, average_before(hidden, None, 4)[0]), 0, None)
        best = sorted(positions(ranked.topk(8).values)[0].tolist())
        assert kept[layer].tolist() == [best, best]


@torch.no_grad()
def test_generating_from_a_bank_equals_one_forward_with_the_same_schedule(tmp_path: Path) -> None:
    built, tokenizer = reader(), byte_tokenizer()
    path = write_tiny_bank(tmp_path / "bank", built.float(), tokenizer, TEXTS, budget=uniform_budget(8, 2))
    inputs = tokenizer("Question: what does a hash table do?\nAnswer:", return_tensors="pt")
    prompt = inputs["input_ids"].shape[1]
    with open_bank(path, embedder=HashEmbedder()) as bank:
        built.double()
        options: dict[str, Any] = {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False}
        with kmem.attach(built, bank, tokenizer=tokenizer, top_k=2, every=8) as memory:
            output = built.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)
            schedule = memory.schedule
            assert {read.source for span in memory.trace for read in span.reads} > {"text#0"}
        assert len({span.ids for span in schedule}) > 1
        with kmem.attach(built, bank, tokenizer=tokenizer, schedule=schedule):
            replayed = built(output.sequences[:, :-1]).logits[:, prompt - 1 :]
        torch.testing.assert_close(torch.stack(output.logits, dim=1), replayed.float(), rtol=1e-6, atol=1e-6)  # generate hands out float32
        with kmem.attach(built, bank, tokenizer=tokenizer, top_k=2, every=8):
            assert torch.equal(built.generate(**inputs, **options), output.sequences)


def saved(folder: Path, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> str:
    reader(**changes).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_folder_builds_a_bank_that_it_alone_reads(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    folder, other = saved(tmp_path / "model", tokenizer, mixers=("conv", "bmojo")), saved(tmp_path / "other", tokenizer, window=16)
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS))
    config = BuildConfig(model=folder, profile="uniform8", selector="innovation", embedder="bm25")
    kmem.build([str(tmp_path / "text.txt")], out=tmp_path / "bank", config=config)
    built, _ = load_model(folder)
    assert isinstance(built, BMojoForCausalLM)
    with kmem.open(tmp_path / "bank") as bank:
        assert bank.profile.budget == ((8, 8),)  # of two layers one attends
        inputs = tokenizer("Which city is the capital of France?", return_tensors="pt")
        with kmem.attach(built, bank, tokenizer=tokenizer, top_k=2) as memory:
            built.generate(**inputs, max_new_tokens=4, min_new_tokens=4)
            assert memory.trace[0].reads
        for stranger in (load_model(other)[0], tiny_model()):
            with pytest.raises(IdentityMismatchError, match="architecture: bank"):
                kmem.attach(stranger, bank, tokenizer=tokenizer)


def test_a_state_space_alone_has_nothing_to_read_with() -> None:
    with pytest.raises(UnsupportedModelError, match="none of its layers attends"):
        examine(reader(variant="ssm"))
