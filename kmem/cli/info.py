"""`kmem info`: what a bank is."""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kmem.cli.render import JSON_OPTION, human_bytes, print_json


def info(bank: Path = typer.Argument(help="Folder of the bank."), as_json: bool = JSON_OPTION) -> None:
    """Show what a bank holds: model, budget, bytes, index and its measured recall."""
    from kmem.kstore.bank import open_bank
    from kmem.kstore.describe import describe

    with open_bank(bank) as opened:
        facts = describe(opened)
    if as_json:
        print_json(facts)
        return
    table = Table(title=Text(str(bank)), show_header=False, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, Text(human_bytes(value) if name.endswith("_bytes") else _text(value)))
    Console().print(table)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {entry}" for key, entry in value.items())
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
