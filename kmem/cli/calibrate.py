"""`kmem calibrate`: which heads of a model must keep how many tokens, so that it reads memories untrained."""

import json
import re
import shlex
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from kmem.arguments import path_of
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, human_seconds, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.errors import BankExistsError, ConfigError
from kmem.profile import Profile
from kmem.training.config import CalibrateConfig

if TYPE_CHECKING:
    from kmem.training.calibrate import Calibration

DEFAULT = CalibrateConfig()
HEADS_SHOWN = 20


def calibrate(
    out: str = typer.Option(..., help="Profile file to write; with several sizes its name holds {slots}, as in mine-{slots}.json."),
    model: str = typer.Option(DEFAULT.model, help="smollm2, gemma3-270m, a model folder, or a hub name."),
    corpus: str = typer.Option(DEFAULT.corpus, help="Documents to calibrate on: a file, folder, glob or corpus:NAME; titles help."),
    slots: str = typer.Option(",".join(map(str, DEFAULT.slots)), help="Tokens kept by one memory over all heads; several sizes by commas."),
    passages: int = typer.Option(DEFAULT.passages, help="Documents to learn from."),
    steps: int = typer.Option(DEFAULT.steps, help="Gradient steps a size."),
    selector: str = typer.Option(DEFAULT.selector, help="Which tokens a head keeps first."),
    seed: int = typer.Option(DEFAULT.seed, help="Order of the probes."),
    dtype: str = typer.Option(DEFAULT.dtype, help="Precision: auto, float32, bfloat16."),
    device: str = typer.Option(DEFAULT.device, help="cpu or cuda.", callback=known_device),
    resume: bool = typer.Option(False, "--resume", help="Go on with a calibration that was stopped."),
    force: bool = typer.Option(False, "--force", help="Replace profiles that are there already."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Find budgets per head, bracket and alignment in which this model, **never trained on memories**, reads them best."""
    config = CalibrateConfig(
        model=model,
        corpus=corpus,
        slots=_sizes(slots),
        passages=passages,
        steps=steps,
        selector=selector,
        seed=seed,
        dtype=dtype,
        device=device,
    )
    files = _files(out, config.slots, force=force)
    from kmem.encoder.load import load_model
    from kmem.encoder.select import selector as require_selector
    from kmem.kstore.place import LocalPlace
    from kmem.training.calibrate import Calibrator
    from kmem.training.checkpoint import Checkpoint
    from kmem.training.provenance import bracket_chosen_on, provenance

    require_selector(config.selector)
    checkpoint = Checkpoint(files[0].with_name(f".{files[0].name}.calibration"))
    checkpoint.require(resume=resume)
    began = time.perf_counter()
    with saying_how_to_go_on(lambda: "", option="--resume"), progress_bars(quiet=as_json) as progress:
        progress("load", 0, 0)
        loaded, tokenizer = load_model(config.model, dtype=config.dtype, device=config.device)
        progress("load", 1, 1)
        calibrator = Calibrator(loaded, tokenizer, config, progress=progress)
        found = calibrator.run(checkpoint.load(calibrator), partial(checkpoint.save, calibrator.settings))
    seconds = time.perf_counter() - began
    for file, profile in zip(files, found.profiles, strict=True):
        named = replace(profile, name=file.stem, provenance=provenance(found, _command()))
        LocalPlace(file.parent).replace(file.name, readable(named).encode())
    checkpoint.remove()
    if as_json:
        chosen = {"passages": found.learnt, "bracket_chosen_on": bracket_chosen_on(found)}
        print_json({"files": [str(file) for file in files], "seconds": seconds, **chosen, "worth": found.worth.tolist()})
    else:
        output().print(heads_table(found))
        output().print(f"Learnt from {found.learnt} passages; the bracket was chosen on {bracket_chosen_on(found)}.")
        output().print(f"Wrote {', '.join(map(str, files))} in {human_seconds(seconds)}; build with --profile {files[0]}.")


def readable(profile: Profile) -> str:
    """The profile as JSON, a layer's budget on one line."""
    text = json.dumps(profile.to_dict(), indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+(\d+(?:,\s+\d+)*)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text) + "\n"


def heads_table(found: "Calibration") -> Table:
    """The heads that are worth most, with the tokens each profile gives them."""
    table = Table("layer", "head", "worth, nats a token", *(f"tokens of {profile.slots}" for profile in found.profiles))
    table.title = Text("What a head's memory is worth, and what it may keep")
    heads = found.worth.shape[1]
    for index in found.worth.flatten().argsort(descending=True)[:HEADS_SHOWN].tolist():
        layer, head = divmod(index, heads)
        kept = (str(profile.budget[layer][head]) for profile in found.profiles)
        table.add_row(str(layer), str(head), f"{float(found.worth[layer, head]):.3f}", *kept)
    return table


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ConfigError(f"--slots {text!r} is not a number or several by commas, as in 360,720.") from None


def _files(out: str, slots: tuple[int, ...], *, force: bool) -> list[Path]:
    """One file a size, largest first.

    Raises ConfigError when the name can't tell them apart or the folder is not there, BankExistsError for one that is to be kept.
    """
    if len(slots) > 1 and "{slots}" not in out:
        raise ConfigError(f"--out {out!r} must hold {{slots}} for {len(slots)} sizes, as in mine-{{slots}}.json.")
    files = [path_of(out.replace("{slots}", str(size)), "--out") for size in sorted(slots, reverse=True)]
    for file in files:
        if not file.parent.is_dir():
            raise ConfigError(f"--out {file}: there is no folder {file.parent}; make it first.")
        if file.suffix != ".json":
            raise ConfigError(f"--out {file} must end in .json, by which --profile knows a file.")
        if file.exists() and not force:
            raise BankExistsError(f"--out {file} is there already; choose another name, or pass --force to replace it.")
    return files


def _command() -> str:
    """The command that makes the same profiles again."""
    return shlex.join(["kmem", *(word for word in sys.argv[1:] if word not in ("--resume", "--force"))])
