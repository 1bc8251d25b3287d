"""`kmem train mqar`: a recipe → a model that recalls pairs, in one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from kmem.arguments import path_of
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, human_bytes, human_seconds, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.cli.usage import UsageError
from kmem.errors import BankExistsError, ConfigError
from kmem.training.mqar.recipe import SHIPPED, Recipe, checked, recipe_of

if TYPE_CHECKING:
    from kmem.training.mqar.estimate import Estimate


def mqar(
    context: typer.Context,
    recipe: str = typer.Option(SHIPPED[0], help="scattered, zoology (published sizes, for a GPU), or a YAML file."),
    out: str | None = typer.Option(None, metavar="FILE", help="File to write, ending in .safetensors."),
    variant: str | None = typer.Option(None, help="What mixes tokens, as bmojo, ssm or transformer; default: the recipe's."),
    seed: int | None = typer.Option(None, help="Of weights and examples; default: the recipe's."),
    steps: int | None = typer.Option(None, help="Updates; default: the recipe's."),
    device: str = typer.Option("cpu", help="cpu or cuda.", callback=known_device),
    print_config: bool = typer.Option(False, "--print-config", help="Print every option as YAML and stop."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Make one step, print sizes and time; write nothing."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a run that was stopped."),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there already."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Train a small model on **multi-query associative recall**: pairs anywhere in a sequence, each key asked once more."""
    chosen = checked(_with(recipe_of(recipe), variant=variant, seed=seed, steps=steps))
    if print_config:
        from kmem.options import yaml_of

        typer.echo(yaml_of(chosen.to_dict()), nl=False)
        return
    if dry_run:
        from kmem.training.mqar.estimate import estimate

        found = estimate(chosen, device=device)
        if as_json:
            print_json(found.to_dict())
        else:
            output().print(estimate_table(chosen, found))
        return
    if out is None:
        raise UsageError("Missing option --out; name the file to write.", context)
    file = _file(out, force=force)
    from kmem.training.mqar.run import checkpoint_of, train

    if checkpoint_of(file).exists() and not resume:
        raise BankExistsError(f"{checkpoint_of(file)} holds a stopped run; pass --resume to go on with it, or delete that file.")
    with saying_how_to_go_on(lambda: "", option="--resume"), progress_bars(quiet=as_json, lines=True) as progress:
        report = train(chosen, file, device=device, progress=progress)
    if as_json:
        print_json({"file": str(file), **report})
    else:
        table = Table("figure", "value", title=f"{chosen.variant}, seed {chosen.seed}: {file}")
        for name, value in report.items():
            table.add_row(name.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value))
        output().print(table)


def estimate_table(recipe: Recipe, found: "Estimate") -> Table:
    """What a run would take and make."""
    table = Table("figure", "value", title=f"{recipe.variant}, seed {recipe.seed}: nothing was written")
    table.add_row("parameters", f"{found.parameters:,}")
    for name, size in found.held_bytes.items():
        table.add_row(f"held after a sequence: {name}", human_bytes(size))
    table.add_row("a step", human_seconds(found.step_s))
    table.add_row("all steps", human_seconds(found.all_s))
    return table


def _with(options: dict[str, Any], *, variant: str | None, seed: int | None, steps: int | None) -> dict[str, Any]:
    """A recipe's options with those of the command line on top."""
    given: dict[str, Any] = {name: value for name, value in (("variant", variant), ("seed", seed)) if value is not None}
    training = options.get("training") or {}
    if steps is not None:
        if not isinstance(training, dict):
            raise ConfigError(f"training must be a mapping of options, not {training!r:.60}.")
        given["training"] = {**training, "steps": steps, "slow": []}
    return {**options, **given}


def _file(out: str, *, force: bool) -> Path:
    """Raises ConfigError for a place that can't be, BankExistsError for a file that is to be kept."""
    file = path_of(out, "--out")
    if not file.parent.is_dir():
        raise ConfigError(f"--out {file}: there is no folder {file.parent}; make it first.")
    if file.suffix != ".safetensors":
        raise ConfigError(f"--out {file} must end in .safetensors.")
    if file.exists() and not force:
        raise BankExistsError(f"--out {file} is there already; choose another name, or pass --force to replace it.")
    return file
