"""`kmem encode`: what a bank built without encoding still lacks."""

import typer

from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, counted, human_seconds, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.encoder.defaults import DEVICE


def encode(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    model: str | None = typer.Option(None, help="Where the bank's model is now; default: where it was."),
    device: str = typer.Option(DEVICE, help="cpu or cuda.", callback=known_device),
    as_json: bool = JSON_OPTION,
) -> None:
    """Encode the memories that a bank built with `--no-encode` still lacks. A run that was stopped goes on when it is repeated."""
    from kmem.kstore.bank import open_bank

    open_bank(bank).close()  # a misspelt path is told before torch is imported, which takes seconds
    from kmem.pipelines.encode import encode_missing

    kept = f"what was encoded is kept in {bank}"
    with saying_how_to_go_on(lambda: kept), progress_bars(quiet=as_json) as progress:
        done = encode_missing(bank, model=model, device=device, progress=progress)
    if as_json:
        print_json({"bank": bank, "encoded": done.encoded, "there_already": done.there, "seconds": done.seconds})
        return
    what = f"{counted(done.encoded, 'reference')} in {human_seconds(done.seconds)}" if done.encoded else "nothing that was missing"
    output().print(f"Encoded {what}; {bank} holds all {done.there + done.encoded:,}.", markup=False)
