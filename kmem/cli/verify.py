"""`kmem verify`: is everything in a bank what was written?"""

import typer

from kmem.cli.hidden import hidden_states
from kmem.cli.render import JSON_OPTION, counted, output, print_json, progress_bars


def verify(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    deep: bool = typer.Option(False, "--deep", help="Also read every memory and text, and compare ids."),
    repair_index: bool = typer.Option(False, "--repair-index", help="First make the search index again, from the texts."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Compare every file with what was written; damage is named, and exit code 2."""
    from kmem.kstore.verify import repair_index as repair
    from kmem.kstore.verify import verify as run

    with progress_bars(quiet=as_json) as progress:
        repaired = repair(bank, hidden=hidden_states(), progress=progress) if repair_index else None
        found = run(bank, deep=deep, progress=progress)
    if as_json:
        print_json({"bank": bank, **found, "repaired_index": None if repaired is None else repaired.index.stored.file})
        return
    mended = "" if repaired is None else f" The index was made again as {repaired.index.stored.file}."
    held, read = found["memories"], found["memories_read"]
    looked = "" if read is None else f", {held:,} {'memory' if held == 1 else 'memories'}"
    looked += "" if read in (None, held) else f", {read:,} of them encoded"
    output().print(f"{bank} is whole: {counted(found['files'] or 0, 'file')}{looked}.{mended}", markup=False)
