"""What a bank belongs to. Two identities are compatible only when every field is equal."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kmem.errors import IdentityMismatchError


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Fingerprint of everything that decides what a stored key or value means.

    `model` is a human-readable name and does not take part in the comparison; the others do. `adapter` is the digest of what was added to
    the model's weights, empty where nothing was.
    """

    model: str
    architecture: str
    weights: str
    tokenizer: str
    bracket: str
    budget: str
    selector: str
    adapter: str = ""

    def mismatched_fields(self, other: "Identity") -> list[str]:
        """Names of the fields that differ, the display name left out."""
        return [f.name for f in fields(self) if f.name != "model" and getattr(self, f.name) != getattr(other, f.name)]

    def require_compatible(self, other: "Identity") -> None:
        """Raise IdentityMismatchError naming every differing field of `other` (the model at hand) against self (the bank)."""
        differing = self.mismatched_fields(other)
        if differing:
            values = "; ".join(f"{name}: bank {getattr(self, name) or 'none'}, here {getattr(other, name) or 'none'}" for name in differing)
            what, option = ("adapter", "adapter") if "adapter" in differing else ("model", "model")
            raise IdentityMismatchError(
                f"The bank was written by {self.model!r} and can't be read by {other.model!r} ({values}); "
                f"load the {what} that wrote the bank, or rebuild the bank with this one (kmem build --{option} …)."
            )

    def to_dict(self) -> dict[str, str]:
        """Without `adapter` where there is none, as before there were any."""
        return {name: value for name, value in asdict(self).items() if name != "adapter" or value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Identity":
        return cls(**{f.name: str(data[f.name]) for f in fields(cls) if f.name != "adapter" or "adapter" in data})


def content_id(*parts: str | int) -> int:
    """A 63-bit id from content alone: the same parts give the same id on every machine and run."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
