"""Every policy on every held-out prompt, in the true regime, at the size that the NAMM chose for that prompt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.namm.attached import measure_attached
from kmem.bench.namm.config import RANKING, NammBenchConfig
from kmem.bench.namm.cost import scoring_shares
from kmem.bench.namm.intervals import normalised, paired95
from kmem.bench.namm.kinds import forgotten
from kmem.encoder.fingerprint import display_name
from kmem.models.namm.checkpoint import load_namm
from kmem.progress import Progress, silent
from kmem.runtime.policies import POLICIES, NammPolicy, Policy
from kmem.training.namm.collection import prompts
from kmem.training.namm.regime import Answered, answered
from kmem.training.namm.tasks import LONG, Example
from kmem.training.passages import passages

ASKED = {"namm_over_full": 0.97, "attached.share_of_five.namm": 0.95}
AT_MOST = {"cache_fraction": 0.5, "scoring_share.prefill_4k": 0.10, "scoring_share.decode": 0.05}
"""What issue 9 asks."""
PLACES = 4
Name = tuple[str, float | None]
"""A policy, and the share that it was asked to keep; None = its own size, or the NAMM's."""


@dataclass(eq=False)
class Table:
    """What every policy gave, by task, a prompt after another."""

    rows: dict[Name, dict[str, list[Answered]]] = field(default_factory=dict)

    def add(self, name: Name, task: str, found: Answered) -> None:
        """The next prompt's."""
        self.rows.setdefault(name, {}).setdefault(task, []).append(found)

    def scores(self, name: Name) -> dict[str, list[float]]:
        """By task."""
        return {task: [found.score for found in own] for task, own in self.rows[name].items()}

    def all(self, name: Name) -> list[Answered]:
        """Of all tasks."""
        return [found for own in self.rows[name].values() for found in own]

    def fraction(self, name: Name) -> float:
        """Mean share of the cache kept."""
        every = self.all(name)
        return sum(found.share for found in every) / len(every)


def measure_namm(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: NammBenchConfig, *, progress: Progress = silent
) -> dict[str, Any]:
    """`score` of each policy as a share of the full cache's, mean over tasks; `cache_fraction` that it kept; `paired95`: the interval of
    the NAMM's score less another's. `by_size`: score and fraction where every policy is asked for a share. `tasks`: scores as they are,
    and `guess`: of the full cache without the texts. `scoring_share`: the policy's part of the time, by policy on these prompts, of the
    NAMM on a long prompt (`prefill_4k`) and in writing after it (`decode`). `attached`: as `measure_attached`. Raises what loading the
    NAMM and reading the corpora raise.
    """
    policy = NammPolicy(load_namm(config.namm))
    made = prompts(tokenizer, config.tasks, config.tasks.prompts, held_out=True, seed=config.seed)
    table, total, done = Table(), sum(len(found) for found in made.values()), 0
    progress("measure", done, total)
    for index, examples in enumerate(zip(*made.values(), strict=True)):
        shares = config.shares if index < config.curve_prompts else ()
        for example in examples:
            for name, found in _measured(model, example, policy, shares):
                table.add(name, example.task, found)
            done += 1
            progress("measure", done, total)
    short = [passage for corpus in config.tasks.corpora for passage in passages(corpus, held_out=True)]
    kinds = forgotten(model, tokenizer, policy, short, config.kinds, seed=config.seed) if config.kinds else {}
    measured = figures(table, config.shares)
    if config.cost_tokens:
        progress("cost", 0, 1)
        costs = scoring_shares(model, tokenizer, policy, short, config.cost_tokens)
        measured["scoring_share"] |= {name: round(cost, PLACES) for name, cost in costs.items()}
    if config.attached:
        progress("attached", 0, 1)
        titled = [passage for passage in short if passage.title]
        measured["attached"] = measure_attached(model, tokenizer, policy, titled, config.attached)
    return {
        **measured,
        "kept_by_kind": kinds,
        "asked": ASKED,
        "asked_at_most": AT_MOST,
        "settings": {
            "model": display_name(model),
            "namm": config.namm,
            "prompts": {task: len(found) for task, found in made.items()},
            "tokens": list(config.tasks.tokens),
            "corpora": list(config.tasks.corpora),
            "long_corpora": list(config.tasks.long_corpora if any(task in LONG for task in made) else ()),
            "seed": config.seed,
        },
    }


def figures(table: Table, shares: tuple[float, ...]) -> dict[str, Any]:
    """Of what was measured."""
    names = ("full", *RANKING, "namm")
    full, namm = table.scores(("full", None)), table.scores(("namm", None))
    score = {name: round(normalised(table.scores((name, None)), full), PLACES) for name in names}
    return {
        "score": score,
        "cache_fraction": {name: round(table.fraction((name, None)), PLACES) for name in names},
        "paired95": {name: _rounded(paired95(namm, table.scores((name, None)), full)) for name in (*RANKING, "full")},
        "namm_over_full": score["namm"],
        "tasks": {task: _task(table, task, names) for task in full},
        "by_size": {
            name: [
                {
                    "cache_fraction": round(table.fraction((name, share)), PLACES),
                    "score": round(_share_of(table.scores((name, share)), full), PLACES),
                }
                for share in shares
            ]
            for name in (*RANKING, "namm")
        },
        **_cost(table),
        "kept_by_layer": _kept_by_layer(table.all(("namm", None))),
    }


def _measured(model: PreTrainedModel, example: Example, policy: NammPolicy, shares: tuple[float, ...]) -> Iterator[tuple[Name, Answered]]:
    """All policies on one prompt; a NAMM decides first, and sets the size of the others."""
    yield ("full", None), answered(model, example, POLICIES["full"]())
    yield ("guess", None), answered(model, _without_texts(example), POLICIES["full"]())
    found = answered(model, example, policy)
    yield ("namm", None), found
    length = len(example.context)
    for name in RANKING:
        ranked = POLICIES[name]()
        yield (name, None), answered(model, example, ranked, budget_of(ranked, found.share, length))
    for share in shares:
        for name in (*RANKING, "namm"):
            ranked = policy if name == "namm" else POLICIES[name]()
            yield (name, share), answered(model, example, ranked, budget_of(ranked, share, length))


def budget_of(policy: Policy, share: float, length: int) -> int:
    """Tokens a head at the last firing that leave `share` of `length` when those read since are added."""
    since = length % policy.delay
    return max(policy.protect, round(share * length) - since)


def _without_texts(example: Example) -> Example:
    return Example(
        task=example.task,
        texts=example.texts[: example.begin],
        question=example.question,
        answer=example.answer,
        begin=example.begin,
        documents=(),
    )


def _task(table: Table, task: str, names: tuple[str, ...]) -> dict[str, float]:
    """Mean probability of the answer's tokens."""
    found = {name: table.scores((name, None))[task] for name in (*names, "guess")}
    return {name: round(sum(scores) / len(scores), PLACES) for name, scores in found.items()}


def _cost(table: Table) -> dict[str, Any]:
    """Seconds of scoring beside those of the model, bytes that are resident, and tokens a second; medians over prompts."""
    names = ("full", *RANKING, "namm")
    rows: Mapping[str, list[Answered]] = {name: table.all((name, None)) for name in names}
    full = rows["full"]
    return {
        "scoring_share": {
            name: round(sum(a.scoring_s for a in own) / sum(a.read_s + a.answer_s for a in own), PLACES) for name, own in rows.items()
        },
        "resident_share": {
            name: round(sum(a.bytes["cache"] for a in own) / sum(a.bytes["full"] for a in own), PLACES)
            for name, own in rows.items()
            if sum(a.bytes["full"] for a in own)
        },
        "resident_bytes": {name: round(median(a.bytes["cache"] for a in own)) for name, own in rows.items()},
        "beside_bytes": {name: round(median(a.bytes["statistics"] + a.bytes["index"] for a in own)) for name, own in rows.items()},
        "read_over_full": {
            name: round(median(a.read_s / b.read_s for a, b in zip(own, full, strict=True)), PLACES) for name, own in rows.items()
        },
        "answer_over_full": {
            name: round(median(a.answer_s / b.answer_s for a, b in zip(own, full, strict=True)), PLACES) for name, own in rows.items()
        },
    }


def _kept_by_layer(found: list[Answered]) -> list[list[float]]:
    """[L][H] mean share of tokens that each head holds of its prompt."""
    layers = []
    for layer in range(len(found[0].held)):
        heads = zip(*(one.held[layer] for one in found), strict=True)
        reads = [one.read_tokens for one in found]
        layers.append([round(sum(own) / sum(reads), PLACES) for own in heads])
    return layers


def _share_of(scores: dict[str, list[float]], full: dict[str, list[float]]) -> float:
    """`normalised`, on the first prompts of each task, as many as there are scores."""
    return normalised(scores, {task: full[task][: len(own)] for task, own in scores.items()})


def _rounded(ends: tuple[float, float]) -> list[float]:
    return [round(end, PLACES) for end in ends]
