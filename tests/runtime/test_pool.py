"""The device tier: what is resident, in which order it goes, and that a plan notices."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from kmem.encoder.encode import Encoder
from kmem.memories import Memories
from kmem.profile import Profile
from kmem.runtime.pool import FIRST_ROWS, Pool
from tests.runtime.conftest import TEXTS
from tests.tiny import uniform_budget


def memories(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Memories:
    return Encoder(model, tokenizer, Profile(name="tiny", budget=uniform_budget(3))).encode(TEXTS, range(len(TEXTS)))


def pool_of(all_of_them: Memories, *, room: int) -> Pool:
    record_bytes = all_of_them.kv[0].nbytes
    return Pool(all_of_them.spec, device=torch.device("cpu"), dtype=torch.float32, budget_bytes=room * record_bytes)


def hold(pool: Pool, all_of_them: Memories, ids: list[int]) -> list[int]:
    """Hold them → what had to be loaded."""
    missing = pool.missing(ids)
    pool.hold(ids, all_of_them.take(missing) if missing else None)
    return missing


def require_right(pool: Pool, all_of_them: Memories, ids: list[int]) -> None:
    rows, bounds = pool.rows(ids), 0
    assert len(set(rows)) == len(ids)
    for index, budget in enumerate(all_of_them.spec.profile.budget):
        layer = pool.layer(index)
        key, value = layer.slots.decoded()
        slots = slice(bounds, bounds := bounds + sum(budget))
        assert torch.equal(key[rows], all_of_them.kv[ids][:, 0, slots])
        assert torch.equal(value[rows], all_of_them.kv[ids][:, 1, slots])
        assert torch.equal(layer.filled[rows], all_of_them.filled[ids][:, slots])


def test_the_least_recently_used_goes_first(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    stored = memories(model, tokenizer)
    pool = pool_of(stored, room=4)
    assert hold(pool, stored, [0, 1, 2]) == [0, 1, 2]
    assert hold(pool, stored, [0, 3]) == [3]
    assert hold(pool, stored, [4, 2]) == [4]  # 1 went: 2 is wanted now, 0 and 3 were used since
    assert pool.missing([0, 1, 2, 3, 4]) == [1]
    require_right(pool, stored, [0, 2, 3, 4])


def test_what_is_wanted_at_once_may_pass_the_budget(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    stored = memories(model, tokenizer)
    pool = pool_of(stored, room=0)
    hold(pool, stored, [5, 6, 7])
    require_right(pool, stored, [5, 6, 7])
    assert hold(pool, stored, [7]) == []
    assert pool.missing([5, 6, 7]) == [5, 6]  # nothing stays that nobody reads


def test_room_grows_as_memories_come(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    stored = memories(model, tokenizer)
    twice = Memories(
        kv=stored.kv.repeat(2, 1, 1, 1),
        slot_position=stored.slot_position.repeat(2, 1),
        lengths=stored.lengths.repeat(2),
        ids=tuple(range(2 * len(stored))),
        spec=stored.spec,
    )
    assert len(twice) > FIRST_ROWS
    pool = pool_of(twice, room=1000)
    for memory_id in range(len(twice)):
        hold(pool, twice, [memory_id])
    assert pool.missing(range(len(twice))) == []
    require_right(pool, twice, list(range(len(twice))))


def test_a_change_of_rows_changes_the_version(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """A plan holds row numbers; it may serve again only while they mean the same memories."""
    stored = memories(model, tokenizer)
    pool = pool_of(stored, room=2)
    hold(pool, stored, [0, 1])
    before = pool.version
    hold(pool, stored, [1])
    assert pool.version == before
    hold(pool, stored, [1, 2])
    assert pool.version > before
