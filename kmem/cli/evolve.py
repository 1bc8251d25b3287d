"""`kmem evolve`: a recipe → a NAMM in one file, with its curve beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from kmem.arguments import path_of, require_count
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, human_bytes, human_seconds, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.cli.usage import UsageError
from kmem.errors import BankExistsError, ConfigError
from kmem.training.namm.recipe import SHIPPED, Recipe, checked, recipe_of

if TYPE_CHECKING:
    from kmem.training.namm.estimate import Estimate

SUFFIX = ".safetensors"


def evolve(
    context: typer.Context,
    config: str = typer.Option(SHIPPED[0], help="smollm2 or smollm2-bam (each under two hours on two cores), or a YAML file."),
    out: str | None = typer.Option(None, metavar="FILE", help="File to write, ending in .safetensors."),
    model: str | None = typer.Option(None, help="smollm2, a model folder, or a hub name; default: the recipe's."),
    seed: int | None = typer.Option(None, help="Of prompts, weights and members; default: the recipe's."),
    processes: int = typer.Option(1, help="Processes that evaluate; they change nothing but the time."),
    device: str = typer.Option("cpu", help="cpu or cuda.", callback=known_device),
    print_config: bool = typer.Option(False, "--print-config", help="Print every option as YAML and stop."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Record one prompt, print sizes and time; write nothing."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a run that was stopped."),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there already."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Learn which tokens a model's **KV cache** can do without: by regression, by distillation, then by **CMA-ES** on tasks from real text.

    The curve goes beside FILE, as JSON lines and as a picture.
    """
    given = {name: value for name, value in (("model", model), ("seed", seed)) if value is not None}
    chosen = checked({**recipe_of(config), **given})
    require_count(processes, "--processes")
    if processes > 1 and device != "cpu":
        raise ConfigError(f"--processes {processes} would each put the model on {device}: give --processes 1 there.")
    if print_config:
        from kmem.options import yaml_of

        typer.echo(yaml_of(chosen.to_dict()), nl=False)
        return
    if dry_run:
        from kmem.training.namm.estimate import estimate

        found = estimate(chosen, device=device, processes=processes)
        if as_json:
            print_json(found.to_dict())
        else:
            output().print(estimate_table(chosen, found))
        return
    if out is None:
        raise UsageError("Missing option --out; name the file to write.", context)
    file = _file(out, force=force)
    from kmem.training.namm.run import begun, checkpoint_of
    from kmem.training.namm.run import evolve as learn

    if begun(file) and not resume:
        raise BankExistsError(f"{checkpoint_of(file)} holds a stopped run; pass --resume to go on with it, or delete that file.")
    with saying_how_to_go_on(lambda: "", option="--resume"), progress_bars(quiet=as_json, lines=True) as progress:
        report = learn(chosen, file, device=device, processes=processes, progress=progress)
    if as_json:
        print_json({"file": str(file), **report})
    else:
        output().print(report_table(report, file))


def estimate_table(recipe: Recipe, found: "Estimate") -> Table:
    """What a run would take and make."""
    table = Table("figure", "value", title=f"{recipe.model}, seed {recipe.seed}: nothing was written")
    table.add_row("parameters", f"{found.parameters:,}")
    table.add_row("prompts to record", f"{found.recordings:,}")
    table.add_row("their files, until it ends", human_bytes(found.recordings_bytes))
    table.add_row("a prompt", human_seconds(found.record_s))
    table.add_row("a step of the distillation", human_seconds(found.step_s))
    table.add_row("a member on a prompt", human_seconds(found.member_s))
    table.add_row("all, without the regression", human_seconds(found.all_s))
    return table


def report_table(report: dict[str, Any], file: Path) -> Table:
    """Where it began and what is shipped, as the judges saw them."""
    tasks = report["judged"]["best"]["tasks"]
    table = Table("", "fitness", "score / full", "cache", *tasks, title=f"{file}: {report['generations']} generations")
    for name, found in report["judged"].items():
        shares = (f"{found['tasks'][task]:.3f}" for task in tasks)
        table.add_row(name, f"{found['fitness']:.3f}", f"{found['score_of_full']:.3f}", f"{found['cache_fraction']:.0%}", *shares)
    true = report["true_regime"]
    shares = (f"{true['score_of_full'][task]:.3f}" for task in tasks)
    table.add_row("in use", "", "", f"{true['cache_fraction']:.0%}", *shares)
    return table


def _file(out: str, *, force: bool) -> Path:
    """Raises ConfigError for a place that can't be, BankExistsError for a file that is there."""
    file = path_of(out, "--out")
    if file.suffix != SUFFIX:
        raise ConfigError(f"--out {file} must end in {SUFFIX}.")
    if not file.parent.is_dir():
        raise ConfigError(f"--out {file}: there is no folder {file.parent}; make it first.")
    if file.exists() and not force:
        raise BankExistsError(f"--out {file} exists; pass --force to replace it, or name another file.")
    return file
