"""`kmem bench mqar`: pairs that are farther back than any window, recalled at equal bytes."""

from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.arguments import path_of
from kmem.bench.mqar.config import ENOUGH, MADE, MqarConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_folder, write_json
from kmem.cli.device import known_device
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.errors import ConfigError
from kmem.figures import require_png
from kmem.training.mqar.recipe import SHIPPED, checked, recipe_of

DEFAULT = MqarConfig()


def mqar(
    runs: str | None = typer.Option(None, metavar="DIR", help=f"Finished runs to ask; default: the shipped ones, with --full {MADE}."),
    variant: list[str] | None = typer.Option(None, help="Variants to ask, by default all."),
    seeds: str = typer.Option(",".join(map(str, DEFAULT.seeds)), help="Seeds of the runs, by commas."),
    sequences: int = typer.Option(DEFAULT.sequences, help="Fresh examples that each is asked."),
    full: bool = typer.Option(False, "--full", help="Train what is not in --runs; stopped, it goes on with the same command."),
    recipe: str = typer.Option(SHIPPED[0], help="With --full: scattered, zoology, or a YAML file."),
    device: str = typer.Option("cpu", help="With --full, where to train: cpu or cuda.", callback=known_device),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw recall by distance and by the size of the store."),
    json_file: str | None = JSON_FILE,
) -> None:
    """Which pairs does B'MOJO recall that a state, a window or another choice of tokens forgets, at equal bytes of memory?"""
    for option, file in (("--json", json_file), ("--picture", picture)):
        require_folder(option, file)
    if picture is not None:
        require_png(Path(picture))
    if not full and (recipe, device) != (SHIPPED[0], "cpu"):
        raise ConfigError("--recipe and --device say how to train, which only --full does: give that too, or leave them out.")
    folder = path_of(runs or MADE, "--runs") if runs is not None or full else None
    config = MqarConfig(runs=folder, variants=tuple(variant) if variant else DEFAULT.variants, seeds=_seeds(seeds), sequences=sequences)
    chosen = checked(recipe_of(recipe))
    from kmem.bench.mqar.measure import measure_mqar
    from kmem.bench.mqar.runs import load_runs, make_missing

    with progress_bars(quiet=json_file == STANDARD_OUTPUT, lines=full) as progress:
        if full:
            with saying_how_to_go_on(lambda: f"finished runs are kept in {config.folder}"):
                make_missing(config, chosen, device=device, progress=progress)
        figures = measure_mqar(load_runs(config), config, progress=progress)
    told = write_json("mqar", figures, json_file)
    if picture is not None:
        from kmem.bench.mqar.picture import draw_recall

        draw_recall(figures, Path(picture))
    if told:
        return
    output().print(recall_table(figures))
    output().print(store_table(figures))
    for variant, share in figures["bank"]["attached"].items():
        without = _share(figures["bank"]["without"][variant])
        output().print(f"With the pairs in a bank alone, {variant} recalls {_share(share)}; without the bank {without}.", markup=False)
    if figures["missing"]:
        output().print(
            f"Not there: {', '.join(figures['missing'])}; kmem bench mqar --full --runs {folder or MADE} trains them.", markup=False
        )


def recall_table(figures: dict[str, Any]) -> Table:
    """A row a variant."""
    used, task = figures["settings"], figures["settings"]["task"]
    title = f"{task['pairs']} pairs in {task['tokens']} tokens, {task['layout']}; outside: {used['outside_from']} tokens back or more"
    table = Table("variant", "outside", "seeds", "in its window", "everywhere", "holds", "evidence", title=title)
    for variant, share in figures["accuracy"].items():
        enough = figures["trained_enough"][variant]
        table.add_row(
            variant,
            _share(share),
            " ".join(_share(figure) for figure in figures["by_seed"]["accuracy"][variant].values()),
            f"{_share(figures['in_window'][variant])} ({used['window_of'][variant]})",
            _share(figures["everywhere"][variant]),
            human_bytes(figures["held_bytes"][variant]["total"]),
            "yes" if enough else f"no: below {ENOUGH:g} in its window",
        )
    return table


def store_table(figures: dict[str, Any]) -> Table:
    """A row a size of the store."""
    shown = figures["store"]["accuracy"]
    table = Table("tokens stored", *shown, title="outside, by the size of the store of a layer; weights as trained")
    for size in next(iter(shown.values()), {}):
        table.add_row(size, *(_share(sizes[size]) for sizes in shown.values()))
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError:
        raise ConfigError(f"--seeds {text!r} is not a number or several by commas, as in 0,1,2.") from None
