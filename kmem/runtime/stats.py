"""Counters of a session."""

from dataclasses import asdict, dataclass


@dataclass(kw_only=True)
class Stats:
    """Since attaching. Seconds are those of the thread that runs the model.

    ticks: forward passes that retrieved; none while a schedule is replayed.
    retrievals: queries answered, one a span and row.
    retrieve_s: from a query's tokens to ids; of these, embed_s: making vectors of its text, search_s: searching the index.
    memories_read, read_bytes: memories that came from the bank, not from RAM or the device, and their bytes as they are stored.
    read_s: bringing records together from disk, store or RAM, waiting for what is being read ahead included.
    decode_s: undoing their quantisation; none where the kernel does so as it reads them.
    encoded, encode_s: memories that a bank built without encoding lacked, and encoding and storing them.
    copy_s: putting memories where the model's attention finds them, on its device; on a GPU, starting to.
    stall_s: what forward passes waited for memories in all: retrieving, reading, decoding, encoding, copying. stall_per_tick_s: its mean.
    ram_hits, ram_misses: memories that were not on the device and were, or were not, in RAM. ram_hit_rate: the share of hits.
    device_hits, device_misses: memories wanted anew by a forward pass that were, or were not, on the device. device_hit_rate likewise.
    ahead_read, ahead_used: memories read ahead, and how many of them were then wanted.
    """

    ticks: int = 0
    retrievals: int = 0
    retrieve_s: float = 0.0
    embed_s: float = 0.0
    search_s: float = 0.0
    memories_read: int = 0
    read_bytes: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    encoded: int = 0
    encode_s: float = 0.0
    copy_s: float = 0.0
    stall_s: float = 0.0
    ram_hits: int = 0
    ram_misses: int = 0
    device_hits: int = 0
    device_misses: int = 0
    ahead_read: int = 0
    ahead_used: int = 0

    def note_retrieval(self, queries: int, seconds: float) -> None:
        """One tick: so many queries were answered."""
        self.ticks += 1
        self.retrievals += queries
        self.retrieve_s += seconds
        self.stall_s += seconds

    def note_search(self, *, embed_s: float, search_s: float) -> None:
        """How a retrieval's seconds were spent."""
        self.embed_s += embed_s
        self.search_s += search_s

    def note_read(self, *, ram_hits: int, ram_misses: int, stored_bytes: int, first_used: int, read_s: float) -> None:
        """Memories were brought together: from RAM the hits (`first_used` of them read ahead), from the bank the misses."""
        self.ram_hits += ram_hits
        self.ram_misses += ram_misses
        self.memories_read += ram_misses
        self.read_bytes += stored_bytes
        self.ahead_used += first_used
        self.read_s += read_s

    def note_decoding(self, seconds: float) -> None:
        """Memories that were read had their quantisation undone."""
        self.decode_s += seconds

    def note_encoding(self, count: int, seconds: float, *, unstored: int) -> None:
        """Memories were encoded because nobody had wanted them before; `unstored` of them are not read from the bank afterwards."""
        self.encoded += count
        self.ram_misses += unstored
        self.encode_s += seconds

    def note_device(self, hits: int, misses: int, seconds: float) -> None:
        """The device tier had, or had not, what a forward pass wanted; seconds: copying what it had not."""
        self.device_hits += hits
        self.device_misses += misses
        self.copy_s += seconds

    def note_loading(self, seconds: float) -> None:
        """A forward pass waited for memories to be read and copied."""
        self.stall_s += seconds

    def since(self, before: "Stats") -> "Stats":
        """What was counted after `before`, an earlier copy."""
        return Stats(**{name: value - getattr(before, name) for name, value in asdict(self).items()})

    def to_dict(self) -> dict[str, float | int]:
        return asdict(self) | {
            "stall_per_tick_s": self.stall_s / max(1, self.ticks),
            "ram_hit_rate": _share(self.ram_hits, self.ram_misses),
            "device_hit_rate": _share(self.device_hits, self.device_misses),
        }


def _share(hits: int, misses: int) -> float:
    return hits / max(1, hits + misses)
