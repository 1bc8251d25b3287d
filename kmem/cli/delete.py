"""`kmem delete`: take memories out of a bank."""

import typer
from rich.table import Table
from rich.text import Text

from kmem.cli.render import JSON_OPTION, output, print_json, printable

SHOWN = 10


def delete(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    where: list[str] = typer.Option(..., metavar="FIELD=PATTERN", help="source, title, text, id or document; repeat to narrow."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would be deleted; write nothing."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Delete memories by what stands beside them. Searches find their next best at once; `kmem compact` frees the bytes."""
    from kmem.kstore.bank import open_bank
    from kmem.kstore.life import delete as run
    from kmem.kstore.where import Condition, matching

    conditions = [Condition.parse(written) for written in where]
    with open_bank(bank) as opened:
        ids = matching(opened, conditions)
        left = len(opened) - len(ids)
        shown = opened.chunks(ids[:SHOWN])
    if ids and not dry_run:
        run(bank, ids)
    if as_json:
        print_json({"deleted": 0 if dry_run else len(ids), "left": left, "dry_run": dry_run, "ids": [str(memory_id) for memory_id in ids]})
        return
    what = f"{'Would delete' if dry_run else 'Deleted'} {len(ids):,} of {len(ids) + left:,} memories"
    table = Table("id", "source", "text", title=Text(what), title_justify="left")
    for chunk in shown:
        table.add_row(str(chunk.id), Text(printable(chunk.source)), Text(printable(chunk.reference[:80])))
    output().print(table if ids else f"{what}: none matches {' and '.join(where)}.", markup=False)
    if len(ids) > SHOWN:
        output().print(f"… and {len(ids) - SHOWN:,} more.")
