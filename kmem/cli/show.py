"""`kmem show`: one memory, its text marked by what was kept."""

from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from kmem.cli.render import JSON_OPTION, print_json

SHADES = ("grey50", "white", "cyan", "green", "yellow", "bold red")


def show(
    bank: Path = typer.Argument(help="Folder of the bank."),
    memory_id: int = typer.Argument(metavar="ID", help="Id of a memory, as kmem query lists them."),
    model: str | None = typer.Option(None, help="Whose tokenizer to show tokens by; default: the model that wrote the bank."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Show a memory's text, each token marked by **how many heads keep it**."""
    from kmem.encoder.load import load_tokenizer, require_tokenizer
    from kmem.kstore.bank import open_bank
    from kmem.runtime.inspect import kept_tokens

    with open_bank(bank) as opened:
        chunk = opened.chunk(memory_id)
        tokenizer = load_tokenizer(model or opened.identity.model)
        require_tokenizer(tokenizer, opened.identity)
        tokens = kept_tokens(opened, memory_id, tokenizer)
        heads = sum(budget > 0 for row in opened.profile.budget for budget in row)
    if as_json:
        print_json({"chunk": asdict(chunk), "heads": heads, "tokens": [asdict(token) for token in tokens]})
        return
    console = Console()
    console.print(
        Text(chunk.source, style="bold"), f"characters {chunk.start}-{chunk.end}, {chunk.tokens} tokens; {heads} heads hold memory"
    )
    text = Text()
    for token in tokens:
        shade = 0 if token.heads == 0 else 1 + token.heads * (len(SHADES) - 2) // heads
        text.append(token.text, style=SHADES[shade])
        text.append(f"{token.heads}" if token.text.strip() else "", style="dim")
    console.print(text)
    console.print(
        Text("a number counts the heads that keep the token: ")
        + Text("none ", SHADES[0])
        + Text("few ", SHADES[1])
        + Text("all", SHADES[-1])
    )
