"""`kmem bench namm`: quality against the size of the KV cache, policy by policy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.bench.namm.config import NammBenchConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_outputs, write_json
from kmem.cli.device import known_device
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import DEVICE, DTYPE, SMOLLM2

DEFAULT = NammBenchConfig()


def namm(
    namm: str = typer.Option(DEFAULT.namm, help="A shipped NAMM, or a file that kmem evolve wrote."),
    model: str = typer.Option(SMOLLM2, help="smollm2, gemma3-270m, a model folder, or a hub name."),
    transfer: str | None = typer.Option(None, metavar="MODEL", help="Another model, that the NAMM has never seen, measured as well."),
    task: list[str] = typer.Option(list(DEFAULT.tasks.names), help="Tasks; may be given several times."),
    corpus: list[str] = typer.Option(list(DEFAULT.tasks.corpora), help="Short documents: a file, folder, glob or corpus:NAME."),
    long_corpus: list[str] = typer.Option(list(DEFAULT.tasks.long_corpora), help="Long documents, for the task article."),
    prompts: int = typer.Option(DEFAULT.tasks.prompts, help="Held-out prompts of each task."),
    tokens: list[int] = typer.Option(list(DEFAULT.tasks.tokens), help="Lengths of prompts, in turn."),
    share: list[float] = typer.Option(list(DEFAULT.shares), help="Shares of the cache that all policies are asked for, too."),
    kinds: int = typer.Option(DEFAULT.kinds, help="Prompts of prose, code and tables, to see what is forgotten; 0 = none."),
    cost_tokens: int = typer.Option(DEFAULT.cost_tokens, help="Tokens of the prompt that the cost of scoring is measured by; 0 = none."),
    attached: int = typer.Option(DEFAULT.attached, help="Questions with five attached memories, one of them right; 0 = none."),
    seed: int = typer.Option(DEFAULT.seed, help="Of the prompts."),
    dtype: str = typer.Option(DTYPE, help="float32 or bfloat16."),
    device: str = typer.Option(DEVICE, help="cpu or cuda.", callback=known_device),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw score against size."),
    json_file: str | None = JSON_FILE,
) -> None:
    """What does a model still answer when **full, recency, H2O, L2 or NAMM** decide what its KV cache keeps, at equal sizes?"""
    require_outputs(json_file, picture)
    tasks = replace(
        DEFAULT.tasks, names=tuple(task), corpora=tuple(corpus), long_corpora=tuple(long_corpus), prompts=prompts, tokens=tuple(tokens)
    )
    config = replace(
        DEFAULT, namm=namm, tasks=tasks, shares=tuple(share), kinds=kinds, cost_tokens=cost_tokens, attached=attached, seed=seed
    )
    from kmem.bench.namm.measure import measure_namm
    from kmem.encoder.load import load_model

    with progress_bars(quiet=json_file == STANDARD_OUTPUT, lines=True) as progress:
        figures = measure_namm(*load_model(model, device=device, dtype=dtype), config, progress=progress)
        if transfer is not None:
            other = load_model(transfer, device=device, dtype=dtype)
            figures["transfer"] = measure_namm(*other, config, progress=lambda stage, *rest: progress(f"{stage} transfer", *rest))
    told = write_json("namm", figures, json_file)
    if picture is not None:
        from kmem.bench.namm.picture import draw_sizes

        draw_sizes(figures, Path(picture))
    if told:
        return
    for found in (figures, figures.get("transfer")):
        if found is not None:
            output().print(policies_table(found))
            output().print(kinds_table(found))
            for line in beside(found):
                output().print(line)


def policies_table(figures: dict[str, Any]) -> Table:
    """A row a policy."""
    tasks = figures["tasks"]
    title = (
        f"{sum(figures['settings']['prompts'].values())} held-out prompts, {figures['settings']['model']}, {figures['settings']['namm']}"
    )
    table = Table("policy", "score / full", "NAMM's lead (95%)", "cache", "resident", "scoring", *tasks, title=title)
    for name, score in figures["score"].items():
        ends = figures["paired95"].get(name)
        table.add_row(
            name,
            f"{score:.3f}",
            "" if ends is None else f"{ends[0]:+.3f} … {ends[1]:+.3f}",
            f"{figures['cache_fraction'][name]:.0%}",
            human_bytes(figures["resident_bytes"][name]),
            f"{figures['scoring_share'][name]:.1%}",
            *(f"{found[name]:.3f}" for found in tasks.values()),
        )
    table.add_row("without the texts", *[""] * 5, *(f"{found['guess']:.3f}" for found in tasks.values()))
    return table


def beside(figures: dict[str, Any]) -> list[str]:
    """What scoring costs, and what is left of five attached memories."""
    lines = []
    costs = {name: cost for name, cost in figures["scoring_share"].items() if name not in figures["score"]}
    if costs:
        lines.append("Scoring, of all time: " + ", ".join(f"{name} {cost:.1%}" for name, cost in costs.items()))
    found = figures.get("attached")
    if found is not None:
        left = ", ".join(f"{name} {share:.2f}" for name, share in found["share_of_five"].items())
        lines.append(
            f"Five attached memories, one of them right, {found['slots']:.0%} of the slots kept: {left} of their share; "
            f"the right one stays in {found['right_kept']['namm']:.0%} of {found['questions']} questions"
        )
    return lines


def kinds_table(figures: dict[str, Any]) -> Table:
    """A row a kind of text."""
    table = Table("kept of", "all layers", "first half", "second half")
    for kind, layers in figures["kept_by_kind"].items():
        middle = len(layers) // 2
        parts = (layers, layers[:middle], layers[middle:])
        table.add_row(kind, *(f"{sum(part) / max(1, len(part)):.0%}" for part in parts))
    return table
