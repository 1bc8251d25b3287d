"""The JSON object of a benchmark, and its picture: where they go, and that they can go there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from kmem.errors import ConfigError
from kmem.figures import require_png

STANDARD_OUTPUT = "-"
JSON_FILE = typer.Option(None, "--json", metavar="FILE", help="Write the JSON object here, - for standard output.")


def require_folder(option: str, file: str | None) -> None:
    """Raise ConfigError, before hours of measuring, when `file` can't be written: it is a folder, or its own does not exist."""
    if file not in (None, STANDARD_OUTPUT) and Path(str(file)).is_dir():
        raise ConfigError(f"{option} {file} is a folder; name a file in it.")
    if file not in (None, STANDARD_OUTPUT) and not Path(str(file)).parent.is_dir():
        raise ConfigError(f"{option} {file}: there is no folder {Path(str(file)).parent}; make it first.")


def require_outputs(json_file: str | None, picture: str | None) -> None:
    """Raise ConfigError, before hours of measuring, for a file of figures or a picture that can't be written."""
    require_folder("--json", json_file)
    require_picture(picture)


def require_picture(file: str | None) -> None:
    """The same of `--picture` alone."""
    require_folder("--picture", file)
    if file is not None:
        require_png(Path(file))


def write_json(name: str, figures: Mapping[str, Any], file: str | None) -> bool:
    """Write the figures with machine, versions and command → whether they went to standard output, which then is no place for tables."""
    from kmem.bench.report import framed

    if file is None:
        return False
    text = json.dumps(framed(name, figures), indent=2)
    if file == STANDARD_OUTPUT:
        typer.echo(text)
        return True
    Path(file).write_text(text + "\n")
    return False
