"""What a bank belongs to. Two identities are compatible only when every field is equal."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kmem.errors import IdentityMismatchError


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Fingerprint of everything that decides what a stored key or value means.

    `model` is a human-readable name and does not take part in the comparison; the others do.
    """

    model: str
    architecture: str
    weights: str
    tokenizer: str
    bracket: str
    budget: str
    selector: str

    def mismatched_fields(self, other: "Identity") -> list[str]:
        """Names of the fields that differ, the display name left out."""
        return [f.name for f in fields(self) if f.name != "model" and getattr(self, f.name) != getattr(other, f.name)]

    def require_compatible(self, other: "Identity") -> None:
        """Raise IdentityMismatchError naming every differing field of `other` (the model at hand) against self (the bank)."""
        differing = self.mismatched_fields(other)
        if differing:
            values = "; ".join(f"{name}: bank {getattr(self, name)}, here {getattr(other, name)}" for name in differing)
            raise IdentityMismatchError(
                f"The bank was written by {self.model!r} and can't be read by {other.model!r} ({values}); "
                f"load the model that wrote the bank, or rebuild the bank with this one (kmem build --model …)."
            )

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Identity":
        return cls(**{f.name: str(data[f.name]) for f in fields(cls)})


def content_id(*parts: str | int) -> int:
    """A 63-bit id from content alone: the same parts give the same id on every machine and run."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
