"""Counters of a session."""

from dataclasses import asdict, dataclass


@dataclass(kw_only=True)
class Stats:
    """Since attaching: queries answered, memories loaded and re-used, bytes loaded, seconds retrieving and loading."""

    retrievals: int = 0
    memories_read: int = 0
    memories_reused: int = 0
    read_bytes: int = 0
    retrieve_s: float = 0.0
    read_s: float = 0.0

    def note_retrieval(self, queries: int, seconds: float) -> None:
        self.retrievals += queries
        self.retrieve_s += seconds

    def note_read(self, *, read: int, reused: int, loaded_bytes: int, seconds: float) -> None:
        self.memories_read += read
        self.memories_reused += reused
        self.read_bytes += loaded_bytes
        self.read_s += seconds

    @property
    def hit_rate(self) -> float:
        """Share of wanted memories that were already resident."""
        return self.memories_reused / max(1, self.memories_reused + self.memories_read)

    def to_dict(self) -> dict[str, float | int]:
        return asdict(self) | {"hit_rate": self.hit_rate}
