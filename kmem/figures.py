"""Pictures as PNG files, without a display."""

from pathlib import Path
from typing import TYPE_CHECKING

from kmem.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_AN_INCH = 150


def subplots(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of so many inches with one pair of axes, outside matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def panels(width: float, height: float, rows: int) -> "tuple[Figure, list[Axes]]":
    """The same with so many axes, two or more, one above the other, over one horizontal axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, sharex=True))


def beside(width: float, height: float, columns: int) -> "tuple[Figure, list[Axes]]":
    """The same with so many axes, two or more, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns))


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG. Raises ConfigError for another ending."""
    require_png(path)
    figure.savefig(path, dpi=DOTS_AN_INCH, format="png")


def require_png(path: Path) -> None:
    """Raise ConfigError for another ending, before anything is measured that is to be drawn."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path} must end in .png.")
