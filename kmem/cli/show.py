"""`kmem show`: one memory, its text marked by what was kept."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.cells import cell_len
from rich.text import Text

from kmem.cli.render import JSON_OPTION, counted, output, print_json, printable

if TYPE_CHECKING:
    from kmem.runtime.inspect import KeptToken

SHADES = ("grey50", "white", "cyan", "green", "yellow", "bold red")


def show(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    memory_id: int = typer.Argument(metavar="ID", help="Id of a memory, as kmem query lists them."),
    model: str | None = typer.Option(None, help="Whose tokenizer to show tokens by; default: the model that wrote the bank."),
    png: str | None = typer.Option(None, "--png", metavar="FILE", help="Draw which tokens each layer keeps."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Show a memory's text, and below each token **how many heads keep it**, once it is encoded."""
    from kmem.kstore.bank import open_bank

    with open_bank(bank) as opened:
        chunk = opened.chunk(memory_id)  # an unknown id is told before transformers is imported, which takes seconds
        from kmem.encoder.load import load_tokenizer, require_tokenizer
        from kmem.runtime.inspect import kept_tokens

        tokenizer = load_tokenizer(model or opened.identity.model)
        require_tokenizer(tokenizer, opened.identity)
        encoded = bool(opened.encoded([memory_id])[0])
        tokens = kept_tokens(opened, memory_id, tokenizer) if encoded or png else []
        heads = sum(budget > 0 for row in opened.profile.budget for budget in row)
        if png is not None:
            from kmem.runtime.picture import draw_memory

            draw_memory(opened, memory_id, tokens, Path(png))
    if as_json:
        print_json({"chunk": asdict(chunk), "heads": heads, "tokens": [asdict(token) for token in tokens]})
        return
    console = output()
    console.print(Text(printable(chunk.source), style="bold"))
    if chunk.title:
        console.print(Text(printable(f"title, with which the reference begins: {chunk.title}")))
    console.print(f"characters {chunk.start} to {chunk.end}, {counted(chunk.tokens, 'token')}, {counted(heads, 'head')} with memory")
    if not encoded:
        console.print(Text(f"\n{printable(chunk.reference)}\n\nNot encoded yet: it is when it is first read, or by kmem encode."))
        return
    for line in lines(tokens, console.width):
        console.print()
        console.print(Text.assemble(*((_cell(token)[0], SHADES[_shade(token.heads, heads)]) for token in line)))
        console.print(Text("".join(_cell(token)[1] for token in line).rstrip(), style="dim"))
    console.print()
    console.print(
        Text.assemble(
            "The number below a token counts the heads that keep it: · ", ("none", SHADES[0]), ", ", ("all", SHADES[-1]), f" {heads}."
        )
    )


def lines(tokens: "Iterable[KeptToken]", width: int) -> "list[Sequence[KeptToken]]":
    """The tokens broken where the text breaks, or where the next would not fit."""
    broken: list[list[KeptToken]] = [[]]
    used = 0
    for token in tokens:
        cells = cell_len(_cell(token)[0])
        if broken[-1] and used + cells > width:
            broken.append([])
            used = 0
        broken[-1].append(token)
        used += cells
        if "\n" in token.text:
            broken.append([])
            used = 0
    return [line for line in broken if line]


def _cell(token: "KeptToken") -> tuple[str, str]:
    """The token on one line and its number below its first letter, both as wide; wider than the number, so that no two touch."""
    shown = printable(token.text).replace("\n", "⏎").replace("\t", " ")
    indent = len(shown) - len(shown.lstrip()) if shown.strip() else 0
    below = " " * indent + str(token.heads or "·")
    width = max(cell_len(shown), len(below) + 1)
    return shown + " " * (width - cell_len(shown)), below.ljust(width)


def _shade(kept: int, heads: int) -> int:
    return 0 if kept == 0 else 1 + kept * (len(SHADES) - 2) // heads
