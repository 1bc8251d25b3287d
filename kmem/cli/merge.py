"""`kmem merge`: one bank out of several."""

import typer

from kmem.cli.render import JSON_OPTION, output, print_json, progress_bars


def merge(
    banks: list[str] = typer.Argument(help="Folders or URLs of banks written by the same model, profile, quantiser and embedder."),
    out: str = typer.Option(..., help="Folder or URL of the new bank."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write a new bank with the memories of several, each once. A merge that was stopped can be repeated."""
    from kmem.kstore.life import merge as run

    with progress_bars(quiet=as_json) as progress:
        manifest = run(banks, out, progress=progress)
    if as_json:
        print_json({"bank": out, "memories": manifest.rows})
        return
    output().print(f"{out} holds the {manifest.rows:,} memories of {len(banks)} banks.", markup=False)
