"""`kmem query`: which memories a text would retrieve."""

from dataclasses import asdict
from textwrap import fill

import typer
from rich.text import Text

from kmem.cli.hidden import hidden_states
from kmem.cli.render import JSON_OPTION, output, print_json, printable
from kmem.kstore.defaults import TOP_K

INDENT = " " * 7


def query(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    text: str = typer.Argument(help="What to look for."),
    top_k: int = typer.Option(TOP_K, "--top-k", "-k", min=1, help="Chunks to list."),
    model: str | None = typer.Option(None, help="Where the bank's model is now, if its hidden states are searched; default: where it was."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Search a bank and list the nearest chunks with source and score."""
    from kmem.kstore.bank import open_bank

    with open_bank(bank, hidden=hidden_states(model)) as opened:
        hits, memories = opened.search(text, k=top_k), len(opened)
    if as_json:
        print_json({"query": text, "hits": [asdict(hit) for hit in hits]})
        return
    console = output()
    if not hits:
        console.print("Nothing was found: " + ("no memory shares a word with the query." if memories else "every memory was deleted."))
    for hit in hits:
        head = Text.assemble((f"{hit.score:.3f}", "bold"), "  ", (str(hit.id), "cyan"), "  ", printable(hit.source))
        console.print(head, soft_wrap=True)
        for line in printable(hit.text).splitlines():
            console.print(Text(fill(line, console.width, initial_indent=INDENT, subsequent_indent=INDENT)), soft_wrap=True)
        console.print()
