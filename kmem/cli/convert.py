"""`kmem convert`: the same memories in other numbers."""

import typer

from kmem.cli.render import JSON_OPTION, human_bytes, output, print_json, progress_bars


def convert(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    out: str = typer.Option(..., help="Folder or URL of the new bank."),
    quant: str = typer.Option(..., "--quant", help="fp32, fp16, bf16 or int8; vq is trained on the bank's own memories."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write a new bank with the same memories, stored by another quantiser."""
    from kmem.kstore.bank import open_bank
    from kmem.kstore.life import convert as run
    from kmem.kstore.trained import quantiser_for

    with progress_bars(quiet=as_json) as progress:
        with open_bank(bank) as old:
            codec = quantiser_for(quant, old, progress=progress)
        manifest = run(bank, codec, out, progress=progress)
    with open_bank(bank) as old, open_bank(out) as new:
        sizes = {"from_bytes": old.record_bytes, "to_bytes": new.record_bytes}
    if as_json:
        print_json({"bank": out, "memories": manifest.rows, "quantiser": quant, **sizes})
        return
    before, after = human_bytes(sizes["from_bytes"]), human_bytes(sizes["to_bytes"])
    output().print(f"{out} holds {manifest.rows:,} memories of {after} each, {before} before.", markup=False)
