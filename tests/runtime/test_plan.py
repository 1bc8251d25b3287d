"""From spans of tokens to runs of columns."""

import copy
from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.kernels.memory_attention import LayerMemory, Prepared, Segments, cpu
from kmem.kstore.bank import Bank
from kmem.runtime import plan as plan_module
from kmem.runtime.forms import PlainForm
from kmem.runtime.plan import Columns, plan_of
from kmem.runtime.pool import Pool
from kmem.runtime.schedule import Span
from kmem.runtime.source import FixedSource
from kmem.runtime.stats import Stats


def resident(bank: Bank, ids: Sequence[int]) -> Pool:
    form = PlainForm(width=bank.spec.head_dim, dtype=torch.float32, quantiser=None)
    pool = Pool(bank.spec, form, device=torch.device("cpu"), dtype=torch.float32, budget_bytes=1 << 20)
    pool.hold(ids, FixedSource(bank.read(ids, positions=False)).read(ids, Stats()))
    return pool


def test_runs_count_real_columns(bank: Bank) -> None:
    one, two, three = ids = bank.all_ids[:3].tolist()
    pool = resident(bank, ids)
    spans = [
        [Span(row=0, start=0, stop=4, ids=(one, two)), Span(row=0, start=4, stop=6, ids=()), Span(row=0, start=6, stop=9, ids=(three,))],
        [Span(row=1, start=0, stop=3, ids=(two,))],
    ]
    columns = [Columns(start=2, real=(True,) * 6), Columns(start=0, real=(False, True, True, False, True, True))]
    plan = plan_of(spans, columns, pool)
    assert plan is not None
    runs = list(zip(plan.segments.row, plan.segments.first, plan.segments.last, strict=True))
    assert runs == [(0, 0, 2), (0, 4, 6), (1, 1, 3), (1, 4, 5)]  # padding inside row 1 cuts its span in two
    rows = dict(zip(ids, pool.rows(ids), strict=True))
    assert plan.segments.resident.tolist() == [[rows[one], rows[two]], [rows[three], -1], [rows[two], -1], [rows[two], -1]]
    assert plan_of([[], []], columns, pool) is None


def test_a_copied_plan_counts_for_itself(bank: Bank) -> None:
    ids = bank.all_ids[:1].tolist()
    plan = plan_of([[Span(row=0, start=0, stop=2, ids=tuple(ids))]], [Columns(start=0, real=(True, True))], resident(bank, ids))
    assert plan is not None
    plan.note(torch.ones(1, 1))
    copied = copy.deepcopy(plan)
    copied.note(torch.ones(1, 1))
    assert (plan.take_mass().tolist(), copied.take_mass().tolist()) == ([[1.0]], [[2.0]])


def test_a_prompt_of_many_chunks_is_one_call_a_layer(
    bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No loop over chunks, and while tokens are generated nothing is laid out twice."""
    prepared: list[int] = []
    attended: list[int] = []

    def counting(memory: LayerMemory, segments: Segments) -> Prepared:
        prepared.append(len(segments))
        real = cpu.prepare(memory, segments)

        def attend(*arguments: object, **options: object) -> object:
            attended.append(len(segments))
            return real(*arguments, **options)  # type: ignore[arg-type]

        return attend  # type: ignore[return-value]

    monkeypatch.setattr(plan_module, "prepare", counting)
    ids = tokenizer("What is the capital of France, and when does water boil?", return_tensors="pt")["input_ids"]
    chunks, layers, new = -(-ids.shape[1] // 8), len(bank.spec.profile.budget), 8
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8):
        model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False)
    assert chunks > 5
    assert prepared == [chunks] * layers + [1] * layers
    assert attended == [chunks] * layers + [1] * layers * (new - 1)
