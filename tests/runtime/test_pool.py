"""The device tier: what is resident, in which order it goes, and that a plan notices; the same in every form."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from kmem.encoder.encode import Encoder
from kmem.kstore.quant import Quantiser, quantiser
from kmem.kstore.quant.vq_train import train_vq
from kmem.memories import Memories
from kmem.profile import Profile
from kmem.runtime import pool as pool_module
from kmem.runtime.copies import Copies
from kmem.runtime.forms import Form, PlainForm, stored_form
from kmem.runtime.pool import FIRST_ROWS, Pool
from kmem.runtime.records import Records
from kmem.runtime.stats import Stats
from tests.runtime.conftest import TEXTS
from tests.tiny import uniform_budget

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Memories as a source would have them, and the form that they get where the kernel decodes."""

    memories: Memories
    codec: Quantiser | None

    def form(self) -> Form:
        spec = self.memories.spec
        return stored_form(self.codec, spec, CPU) or PlainForm(width=spec.head_dim, dtype=torch.float32, quantiser=self.codec)

    def records(self, ids: list[int]) -> Records:
        kv, filled = self.memories.kv[ids], self.memories.filled[ids]
        return Records(ids=tuple(ids), stored=kv if self.codec is None else torch.from_numpy(self.codec.encode(kv)), filled=filled)

    def numbers(self, ids: list[int]) -> Tensor:
        """[n, 2, S, D] what a kernel should read."""
        kv = self.memories.kv[ids]
        return kv if self.codec is None else self.codec.decode(self.codec.encode(kv))


@pytest.fixture(params=["numbers", "fp16", "int8", "vq"])
def stored(request: pytest.FixtureRequest, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Stored:
    memories = Encoder(model, tokenizer, Profile(name="tiny", budget=uniform_budget(3))).encode(TEXTS, range(len(TEXTS)))
    if request.param == "numbers":
        return Stored(memories=memories, codec=None)
    return Stored(memories=memories, codec=train_vq(memories, groups=2) if request.param == "vq" else quantiser(request.param))


def pool_of(stored: Stored, *, room: int) -> Pool:
    spec, form = stored.memories.spec, stored.form()
    record_bytes = 2 * spec.profile.slots * form.width * form.dtype.itemsize
    return Pool(spec, form, device=CPU, dtype=torch.float32, budget_bytes=room * record_bytes)


def hold(pool: Pool, stored: Stored, ids: list[int]) -> list[int]:
    """Hold them → what had to be loaded."""
    missing = pool.missing(ids)
    pool.hold(ids, pool.form.ready(stored.records(missing), Stats()) if missing else None)
    return missing


def require_right(pool: Pool, stored: Stored, ids: list[int]) -> None:
    rows, bounds, numbers = pool.rows(ids), 0, stored.numbers(ids).float()
    assert len(set(rows)) == len(ids)
    for index, budget in enumerate(stored.memories.spec.profile.budget):
        layer = pool.layer(index)
        key, value = layer.slots.decoded()
        slots = slice(bounds, bounds := bounds + sum(budget))
        assert torch.equal(key[rows].float(), numbers[:, 0, slots])
        assert torch.equal(value[rows].float(), numbers[:, 1, slots])
        assert torch.equal(layer.filled[rows], stored.memories.filled[ids][:, slots])


def test_the_least_recently_used_goes_first(stored: Stored) -> None:
    pool = pool_of(stored, room=4)
    assert hold(pool, stored, [0, 1, 2]) == [0, 1, 2]
    assert hold(pool, stored, [0, 3]) == [3]
    assert hold(pool, stored, [4, 2]) == [4]  # 1 went: 2 is wanted now, 0 and 3 were used since
    assert pool.missing([0, 1, 2, 3, 4]) == [1]
    require_right(pool, stored, [0, 2, 3, 4])


def test_what_is_wanted_at_once_may_pass_the_budget(stored: Stored) -> None:
    pool = pool_of(stored, room=0)
    hold(pool, stored, [5, 6, 7])
    require_right(pool, stored, [5, 6, 7])
    assert hold(pool, stored, [7]) == []
    assert pool.missing([5, 6, 7]) == [5, 6]  # nothing stays that nobody reads


def test_what_passed_the_budget_is_given_back(stored: Stored) -> None:
    """A prompt of many chunks wants more than there is room for; the tokens after it do not pay for it."""
    pool = pool_of(stored, room=3)
    hold(pool, stored, list(range(8)))
    assert taken(pool) == 8
    before = pool.version
    assert hold(pool, stored, [6, 7]) == []
    assert taken(pool) == 3
    assert pool.version > before
    require_right(pool, stored, [6, 7])
    for wanted in ([7, 1], [0, 1], [6, 7, 0, 1], [2], [1, 3]):
        hold(pool, stored, wanted)
        require_right(pool, stored, wanted)
        assert taken(pool) <= max(3, len(wanted))
        assert len(pool) <= max(3, len(wanted))


def taken(pool: Pool) -> int:
    """Memories there is room for on the device."""
    return len(pool.layer(0).filled)


def test_room_grows_as_memories_come(stored: Stored) -> None:
    once = stored.memories
    twice = replace(
        once,
        kv=once.kv.repeat(2, 1, 1, 1),
        slot_position=once.slot_position.repeat(2, 1),
        lengths=once.lengths.repeat(2),
        ids=tuple(range(2 * len(once))),
    )
    assert len(twice) > FIRST_ROWS
    stored = replace(stored, memories=twice)
    pool = pool_of(stored, room=1000)
    for memory_id in range(len(twice)):
        hold(pool, stored, [memory_id])
    assert pool.missing(range(len(twice))) == []
    require_right(pool, stored, list(range(len(twice))))


@pytest.mark.parametrize("what", ["growing", "copying", "shrinking"])
def test_what_is_cut_short_costs_nothing_but_time(stored: Stored, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Ctrl-C, or no memory, in the middle: no row is given out twice, none is lost, and asking again succeeds."""
    room = {"growing": 40, "copying": 4, "shrinking": 3}[what]
    pool = pool_of(stored, room=room)
    hold(pool, stored, {"growing": [], "copying": [0, 1, 2, 3], "shrinking": [0, 1, 2, 3, 4]}[what])
    wanted = {"growing": [4, 5, 6], "copying": [5, 6], "shrinking": [1, 2]}[what]
    missing = pool.missing(wanted)
    records = pool.form.ready(stored.records(missing), Stats()) if missing else None
    if what == "copying":
        assert records is not None
        broken = replace(records, filled=records.filled[:, :1].expand(-1, 3))  # after the numbers were copied
        with pytest.raises(RuntimeError):
            pool.hold(wanted, broken)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(pool_module, "_longer", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.hold(wanted, records)
    for _ in range(3):
        hold(pool, stored, wanted)
        require_right(pool, stored, wanted)
    still = [memory_id for memory_id in range(len(stored.memories)) if memory_id not in pool.missing(range(len(stored.memories)))]
    require_right(pool, stored, still)


def interrupted(*_: object) -> Tensor:
    raise KeyboardInterrupt


def test_a_change_of_rows_changes_the_version(stored: Stored) -> None:
    """A plan holds row numbers; it may serve again only while they mean the same memories."""
    pool = pool_of(stored, room=2)
    hold(pool, stored, [0, 1])
    before = pool.version
    hold(pool, stored, [1])
    assert pool.version == before
    hold(pool, stored, [1, 2])
    assert pool.version > before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_to_a_gpu_are_there_when_they_are_read() -> None:
    """The processor does not wait for them; what is launched afterwards does."""
    device = torch.device("cuda")
    copy = Copies(device)
    for seed in range(20):
        numbers = torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed))
        assert torch.equal((copy(numbers) * 2).cpu(), numbers * 2)


def test_copies_on_a_cpu_copy_nothing() -> None:
    numbers = torch.randn(3)
    assert Copies(CPU)(numbers) is numbers
