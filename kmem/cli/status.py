"""`kmem status`: how far a build is."""

import typer
from rich.table import Table

from kmem.cli.build import UNENCODED
from kmem.cli.render import JSON_OPTION, human_seconds, output, print_json


def status(
    build: str = typer.Argument(help="Folder or URL that kmem build writes to."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Say how far a **build** is: its stages, what was rejected, whether anyone is at work on it, and how to go on."""
    from kmem.kstore.place import place_of
    from kmem.pipelines.status import status as ask

    found = ask(place_of(build))
    if as_json:
        print_json(found.to_dict())
        return
    by = f" ({found.writer})" if found.writer else ""
    table = Table("stage", "done", "of", "", "tasks", "a second", "left")
    for name, stage in found.stages.items():
        table.add_row(
            name,
            f"{stage.done:,}",
            f"{stage.total:,}" if stage.total else "?",
            stage.unit,
            f"{stage.tasks:,}" if stage.tasks is not None else "",
            f"{stage.rate:,.1f}" if stage.rate else "",
            human_seconds(stage.left_s) if stage.left_s is not None else "",
        )
    console = output()
    console.print(f"{found.place}: {found.state}{by}", markup=False, soft_wrap=True)
    console.print(table)
    for reason, count in sorted(found.rejected.items()):
        console.print(f"rejected: {reason}: {count:,}", markup=False)
    if found.encode is False:
        console.print(f"Encoded: {UNENCODED}.", markup=False, soft_wrap=True)
    if found.resume:
        console.print(f"To go on, {found.resume}", markup=False, soft_wrap=True)
