"""Kinds of index by the names that FAISS gives them, and which one serves how many rows. Imports no FAISS."""

import math
import re
from dataclasses import dataclass

from kmem.errors import ConfigError

AUTO = "auto"
FLAT_BELOW = 20_000
CODES_FROM = 4_000_000
MOST = 1 << 20
"""Lists or parts that a string may ask for."""
MOST_LINKS = 256
"""Of a node of a graph; each takes 8 bytes a vector."""
TARGET_RECALL = 0.95
DIMENSIONS_A_CODE = 4
"""Of what product quantisation cuts a vector into, each part one byte, where the number of rows chooses."""

_SPELLED = (
    ("flat", re.compile(r"(?:IDMap2?,)?Flat")),
    ("ivf", re.compile(r"IVF(?P<lists>[1-9]\d*),Flat")),
    ("ivfpq", re.compile(r"IVF(?P<lists>[1-9]\d*),PQ(?P<parts>[1-9]\d*)(?:x(?P<bits>[4-8]))?(?P<refine>,RFlat)?")),
    ("hnsw", re.compile(r"(?:IDMap2?,)?HNSW(?P<links>[1-9]\d*)(?:,Flat)?")),
)
KINDS = tuple(kind for kind, _ in _SPELLED)


@dataclass(frozen=True, kw_only=True)
class Factory:
    """An index that kmem builds. lists: inverted ones, in `ivf` and `ivfpq`. parts, bits: of a product quantiser's code.

    refine: what codes found is ranked again by the whole vectors. links: of a node of a `hnsw` graph.
    """

    kind: str
    lists: int = 0
    parts: int = 0
    bits: int = 8
    links: int = 0
    refine: bool = False

    def __str__(self) -> str:
        """As `parse_factory` reads it."""
        if self.kind == "hnsw":
            return f"IDMap2,HNSW{self.links},Flat"
        if self.kind == "flat":
            return "IDMap2,Flat"
        return f"{self.searched}{',RFlat' if self.refine else ''}"

    @property
    def searched(self) -> str:
        """What FAISS is to make; kmem itself ranks again."""
        if self.kind == "ivfpq":
            return f"IVF{self.lists},PQ{self.parts}x{self.bits}"
        return f"IVF{self.lists},Flat" if self.kind == "ivf" else str(self)

    @property
    def exact(self) -> bool:
        """Whether the index holds the vectors themselves, not codes of them."""
        return self.kind != "ivfpq"

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of what is tuned for a search."""
        return {"flat": (), "ivf": ("nprobe",), "ivfpq": ("nprobe", "k_factor") if self.refine else ("nprobe",), "hnsw": ("efSearch",)}[
            self.kind
        ]

    @property
    def trained_on(self) -> int:
        """Rows that training takes at least: one a list, one a code word."""
        return max(self.lists, 1 << self.bits if self.parts else 0)


def parse_factory(text: str) -> Factory:
    """The index that a string of FAISS's index_factory means. Raises ConfigError for what kmem doesn't build."""
    for kind, spelled in _SPELLED:
        if found := spelled.fullmatch(text):
            numbers = {name: int(value) for name, value in found.groupdict().items() if value and name != "refine"}
            if not 2 <= numbers.get("links", 2) <= MOST_LINKS:
                raise ConfigError(f"{text!r:.60} asks for {numbers['links']} links a vector; give from 2 to {MOST_LINKS}, as in HNSW32.")
            if max(numbers.values(), default=0) > MOST:
                raise ConfigError(f"{text!r:.60} asks for more than {MOST} lists or parts; IVF1024,PQ48 has 1024 and 48.")
            return Factory(kind=kind, refine=found.groupdict().get("refine") is not None, **numbers)
    raise ConfigError(
        f"{text!r:.60} is no search index that kmem builds; give {AUTO}, Flat, IVF1024,Flat, IVF1024,PQ48 "
        "(with ,RFlat to rank again by the whole vectors) or HNSW32, the numbers as you like."
    )


def require_factory(text: str) -> None:
    """Raise ConfigError unless it is `auto` or what `parse_factory` reads."""
    if text != AUTO:
        parse_factory(text)


def require_target(recall: float) -> None:
    """Raise ConfigError for a share of the nearest that no search can be tuned to find."""
    if not 0 < recall <= 1:
        raise ConfigError(f"target_recall must lie in (0, 1], not {recall}.")


def chosen(text: str, *, rows: int, dim: int, flat_below: int = FLAT_BELOW, codes_from: int = CODES_FROM) -> Factory:
    """The index for `rows` vectors of `dim`, as `text` says or, for `auto`, by their number.

    Where an index needs more rows to be trained than there are, it is `Flat` until there are. Raises ConfigError for parts that don't
    divide `dim`.
    """
    asked = _by_rows(rows, dim, flat_below, codes_from) if text == AUTO else parse_factory(text)
    if asked.parts and dim % asked.parts:
        raise ConfigError(f"{text} cuts a vector into {asked.parts} parts, of which its {dim} dimensions are no multiple; give a divisor.")
    return Factory(kind="flat") if rows < asked.trained_on else asked


def require_fitting(text: str, dim: int) -> None:
    """Raise ConfigError unless vectors of `dim` can be indexed so."""
    chosen(text, rows=1, dim=dim)


def list_count(rows: int) -> int:
    """2·√N rounded to a power of two, and never more than there are vectors."""
    return 1 << min(round(math.log2(2 * math.sqrt(rows))), int(math.log2(rows)))


def _by_rows(rows: int, dim: int, flat_below: int, codes_from: int) -> Factory:
    if rows < flat_below:
        return Factory(kind="flat")
    if rows < codes_from:
        return Factory(kind="ivf", lists=list_count(rows))
    parts = max(part for part in range(1, max(1, dim // DIMENSIONS_A_CODE) + 1) if dim % part == 0)
    return Factory(kind="ivfpq", lists=list_count(rows), parts=parts)
