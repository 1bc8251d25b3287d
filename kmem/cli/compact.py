"""`kmem compact`: rewrite a bank without what was deleted."""

import typer

from kmem.cli.render import JSON_OPTION, counted, human_bytes, output, print_json, progress_bars


def compact(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    held_too: bool = typer.Option(
        False, "--prune-held", help="Delete older states even where a reader may have them open; in an object store nobody can tell."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Rewrite a bank as one generation without deleted memories, and delete older states that no reader has open."""
    from kmem.kstore.life import compact as run

    with progress_bars(quiet=as_json) as progress:
        done = run(bank, held_too=held_too, progress=progress)
    manifest = done.manifest
    if as_json:
        print_json(
            {
                "memories": manifest.rows,
                "manifest": manifest.number,
                "deleted_files": done.deleted_files,
                "deleted_bytes": done.deleted_bytes,
                "held_states": done.held_states,
            }
        )
        return
    held, them = counted(done.held_states, "older state"), "it" if done.held_states == 1 else "them"
    stays = f" {held} kept: a reader may have {them} open; compact again later, or with --prune-held." if done.held_states else ""
    output().print(
        f"{bank} holds {manifest.rows:,} memories as manifest {manifest.number}; "
        f"{counted(done.deleted_files, 'file')} of older states deleted, {human_bytes(done.deleted_bytes)}.{stays}",
        markup=False,
    )
