"""`kmem train lm`: language models of equal parameters, trained one after another and compared."""

from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.arguments import path_of
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_folder, write_json
from kmem.cli.device import known_device
from kmem.cli.render import human_seconds, output, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.cli.usage import UsageError
from kmem.errors import BankExistsError, ConfigError
from kmem.figures import require_png
from kmem.training.lm.recipe import SHIPPED, checked, recipe_of


def lm(
    context: typer.Context,
    recipe: str = typer.Option(SHIPPED[0], help="vital (FOLDOC and Vital Articles, minutes on a CPU), or a YAML file."),
    out: str | None = typer.Option(None, metavar="FOLDER", help="Folder for a file a model."),
    variant: list[str] | None = typer.Option(None, help="A model to train, as bmojo or transformer; default: the recipe's."),
    seed: int | None = typer.Option(None, help="Of weights and batches; default: the recipe's."),
    steps: int | None = typer.Option(None, help="Updates; default: the recipe's."),
    device: str = typer.Option("cpu", help="cpu or cuda.", callback=known_device),
    print_config: bool = typer.Option(False, "--print-config", help="Print every option as YAML and stop."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Make one step of each model, tell sizes and time; train nothing."),
    resume: bool = typer.Option(False, "--resume", help="Go on with runs that were stopped; finished ones are kept."),
    json_file: str | None = JSON_FILE,
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw perplexity against length."),
) -> None:
    """Train small language models of **equal parameters** on the demo corpora, and judge them on held-out documents.

    They are judged at the length that they were trained on, and at 2, 4 and 8 times that.
    """
    given = {name: value for name, value in (("variants", variant or None), ("seed", seed)) if value is not None}
    chosen = checked(_with(recipe_of(recipe), given, steps))
    if print_config:
        from kmem.options import yaml_of

        typer.echo(yaml_of(chosen.to_dict()), nl=False)
        return
    require_folder("--json", json_file)
    if dry_run:
        from kmem.training.lm.estimate import estimate

        found = estimate(chosen, device=device)
        if not write_json("lm-estimate", found, json_file):
            output().print(estimate_table(found))
        return
    if out is None:
        raise UsageError("Missing option --out; name the folder to write.", context)
    require_folder("--picture", picture)
    if picture is not None:
        require_png(Path(picture))
    folder = _folder(out)
    from kmem.training.lm.run import begun, compare

    if begun(folder, chosen) and not resume:
        raise BankExistsError(f"--out {folder} holds runs of these models; pass --resume to go on with them, or choose another folder.")
    folder.mkdir(exist_ok=True)
    with (
        saying_how_to_go_on(lambda: "", option="--resume"),
        progress_bars(quiet=json_file == STANDARD_OUTPUT, lines=True) as progress,
    ):
        figures = compare(chosen, folder, device=device, progress=progress)
    if picture is not None:
        from kmem.training.lm.picture import draw_perplexity

        draw_perplexity(figures, Path(picture))
    if not write_json("lm", figures, json_file):
        output().print(figures_table(figures))


def figures_table(figures: dict[str, Any]) -> Table:
    """A row a model, then what the issue asks."""
    lengths = list(next(iter(figures["models"].values()))["perplexity"])
    title = f"perplexity of held-out documents; trained on {lengths[0]} tokens at a time"
    table = Table("model", "parameters", "trained in", *lengths, "bits a byte", title=title)
    for name, report in figures["models"].items():
        cells = [f"{value:.2f}" for value in report["perplexity"].values()]
        table.add_row(name, f"{report['parameters']:,}", human_seconds(report["seconds"]), *cells, f"{report['bits_per_byte']:.3f}")
    for name, limit in figures["asked_at_most"].items():
        if name in figures:
            table.add_row(f"bmojo {name.replace('_', ' ')}: {figures[name]:.3f}, asked at most {limit:g}")
    return table


def estimate_table(found: dict[str, Any]) -> Table:
    """A row a model, then all of them."""
    table = Table("model", "parameters", "layers", "MLP", "a step", "all steps", title="no model was trained")
    for name, model in found["models"].items():
        times = (human_seconds(model["step_s"]), human_seconds(model["all_s"]))
        table.add_row(name, f"{model['parameters']:,}", str(model["layers"]), str(model["mlp"]), *times)
    table.add_row("all", "", "", "", "", human_seconds(found["all_s"]))
    return table


def _with(options: dict[str, Any], given: dict[str, Any], steps: int | None) -> dict[str, Any]:
    """A recipe's options with those of the command line on top."""
    training = options.get("training") or {}
    if steps is not None:
        if not isinstance(training, dict):
            raise ConfigError(f"training must be a mapping of options, not {training!r:.60}.")
        given = {**given, "training": {**training, "steps": steps}}
    return {**options, **given}


def _folder(out: str) -> Path:
    """Raises ConfigError for a place that can't be."""
    folder = path_of(out, "--out")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder.")
    if not folder.parent.is_dir():
        raise ConfigError(f"--out {folder}: there is no folder {folder.parent}; make it first.")
    return folder
