"""`kmem train memory`: stage two, in which a model learns to write and read its memories."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from kmem.arguments import path_of
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, human_seconds, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.cli.usage import UsageError
from kmem.errors import BankExistsError, ConfigError
from kmem.training.memory.recipe import SHIPPED, Recipe, checked, recipe_of

if TYPE_CHECKING:
    from kmem.training.memory.estimate import Estimate


def memory(
    context: typer.Context,
    recipe: str = typer.Option(SHIPPED[0], help="distil, paper (Memory³'s own layout and loss), or a YAML file."),
    out: str | None = typer.Option(None, metavar="ADAPTER", help="Folder for what is trained, its curve and its description."),
    model: str | None = typer.Option(None, help="smollm2, gemma3-270m, a model folder, or a hub name; default: the recipe's."),
    corpus: list[str] | None = typer.Option(None, help="What to learn from: a file, folder, glob or corpus:NAME; may be given again."),
    profile: str | None = typer.Option(None, help="How memories are written: smollm2-360, memory3, a profile's JSON file."),
    full: bool = typer.Option(False, "--full", help="Train all weights, into a model folder; by default a LoRA, an adapter."),
    seed: int | None = typer.Option(None, help="Of the adapter's first weights and of the batches; default: the recipe's."),
    steps: int | None = typer.Option(None, help="Updates; default: the recipe's."),
    device: str = typer.Option("cpu", help="cpu or cuda.", callback=known_device),
    print_config: bool = typer.Option(False, "--print-config", help="Print every option as YAML and stop."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Make two steps, print sizes and time; write nothing."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a run that was stopped."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Train a model to **write and read memories**: it learns to say with memories what it says with the text in its prompt."""
    chosen = checked(_with(recipe_of(recipe), model=model, corpora=corpus, profile=profile, full=full, seed=seed, steps=steps))
    if print_config:
        from kmem.options import yaml_of

        typer.echo(yaml_of(chosen.to_dict()), nl=False)
        return
    if dry_run:
        from kmem.training.memory.estimate import estimate

        with progress_bars(quiet=as_json, lines=True) as progress:
            found = estimate(chosen, device=device, progress=progress)
        if as_json:
            print_json(found.to_dict())
        else:
            output().print(estimate_table(chosen, found))
        return
    if out is None:
        raise UsageError("Missing option --out; name the folder to write.", context)
    folder = _folder(out, resume=resume)
    from kmem.training.memory.run import train

    with saying_how_to_go_on(lambda: "", option="--resume"), progress_bars(quiet=as_json, lines=True) as progress:
        report = train(chosen, folder, device=device, progress=progress)
    if as_json:
        print_json({"adapter": str(folder), **report})
    else:
        output().print(report_table(chosen, folder, report))


def report_table(recipe: Recipe, folder: Path, report: dict[str, Any]) -> Table:
    """Held-out passages before and after, then the counts."""
    table = Table("held-out passages, nats a token", "before", "after", title=f"{recipe.model}, {recipe.profile}: {folder}")
    before, after = report["held_out"]["before"], report["held_out"]["after"]
    for name, said in (
        ("memories", "with memories"),
        ("without", "without memories"),
        ("text", "text in the prompt, untrained"),
        ("nothing", "nothing, untrained"),
    ):
        table.add_row(said, f"{before[name]:.3f}", f"{after[name]:.3f}")
    shares = ("–" if found["share_of_text_gain"] is None else f"{found['share_of_text_gain']:.0%}" for found in (before, after))
    table.add_row("share of the text's gain", *shares)
    for name in ("learnt_from", "trained_parameters", "steps", "passed_over", "rolled_back", "leaks"):
        table.add_row(name.replace("_", " "), "", f"{report[name]:,}")
    table.add_row("time", "", human_seconds(report["seconds"]))
    return table


def estimate_table(recipe: Recipe, found: "Estimate") -> Table:
    """What a run would take."""
    table = Table("figure", "value", title=f"{recipe.model}, {recipe.profile}: nothing was written")
    table.add_row("parameters that are trained", f"{found.parameters:,}")
    table.add_row("a step reads", f"{found.examples} examples of {found.tokens:,} tokens, {found.references} references")
    table.add_row("the teacher reads", f"{found.taught_tokens:,} tokens")
    table.add_row("a step", human_seconds(found.step_s))
    table.add_row(f"{recipe.training.steps:,} steps", human_seconds(found.all_s))
    return table


def _with(options: dict[str, Any], *, full: bool, **given: Any) -> dict[str, Any]:
    """A recipe's options with those of the command line on top."""
    inside = {
        "data": {"corpora": given.pop("corpora") or None},
        "training": {"steps": given.pop("steps")},
        "adapter": {"kind": "full" if full else None},
    }
    found = {**options, **{name: value for name, value in given.items() if value is not None}}
    for section, values in inside.items():
        chosen = {name: value for name, value in values.items() if value is not None}
        own = options.get(section) or {}
        if chosen and not isinstance(own, dict):
            raise ConfigError(f"{section} must be a mapping of options, not {own!r:.60}.")
        if chosen:
            found[section] = {**own, **chosen}
    return found


def _folder(out: str, *, resume: bool) -> Path:
    """Raises ConfigError for a place that can't be, BankExistsError for a folder that holds something that is not to be gone on with."""
    folder = path_of(out, "--out")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder.")
    if not folder.parent.is_dir():
        raise ConfigError(f"--out {folder}: there is no folder {folder.parent}; make it first.")
    if (folder / "kmem.json").exists():
        raise BankExistsError(f"--out {folder} holds a finished run; name another folder, or delete that one.")
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise BankExistsError(f"--out {folder} is not empty; pass --resume to go on with a stopped run in it, or name another folder.")
    return folder
