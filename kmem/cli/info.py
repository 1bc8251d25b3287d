"""`kmem info`: what a bank is."""

from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from kmem.cli.render import JSON_OPTION, human_bytes, output, print_json

LABELS = {
    "record_bytes": "a memory",
    "payload_bytes": "keys and values",
    "stored_bytes": "all files",
    "encoder_dtype": "encoded in",
    "bracket_tokens": "bracket's tokens",
    "format_version": "bank format",
    "kmem_version": "written by kmem",
    "payload": "numbers stored as",
}


def info(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    png: str | None = typer.Option(None, "--png", metavar="FILE", help="Draw how many tokens each head keeps."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Show what a bank holds: model, budget, bytes, index and its measured recall."""
    from kmem.kstore.bank import open_bank
    from kmem.kstore.describe import describe

    with open_bank(bank) as opened:
        facts = describe(opened)
        if png is not None:
            from kmem.runtime.picture import draw_budget

            draw_budget(opened.profile, Path(png))
    if as_json:
        print_json(facts)
        return
    table = Table(title=Text(bank), show_header=False, title_justify="left")
    for name, value in (facts | {"encoded": f"{facts['encoded']:,} of {facts['memories']:,}"}).items():
        table.add_row(LABELS.get(name, name.replace("_", " ")), Text(human_bytes(value) if name.endswith("_bytes") else _text(value)))
    output().print(table)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {entry}" for key, entry in value.items())
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
