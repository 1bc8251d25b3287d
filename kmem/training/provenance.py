"""Where a calibrated profile comes from, as its JSON file keeps it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmem.training.calibrate import Calibration

HEADS = 20
"""Heads whose worth is recorded, the best."""


def provenance(found: "Calibration", command: str) -> dict[str, Any]:
    """JSON object: what was calibrated with what, what was minimised, and the worth of the best heads. `command` makes it again."""
    layers, heads = found.worth.shape
    best = [divmod(index, heads) for index in found.worth.flatten().argsort(descending=True)[:HEADS].tolist()]
    return {
        "model": f"{found.config.model} ({layers} layers, {heads} key-value heads)",
        "corpus": found.config.corpus,
        "passages": found.learnt,
        "bracket_chosen_on": bracket_chosen_on(found),
        "objective": found.objective,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "worth": [{"layer": layer, "head": head, "nats_per_token": round(float(found.worth[layer, head]), 4)} for layer, head in best],
    }


def bracket_chosen_on(found: "Calibration") -> str:
    """Which passages chose the bracket; a small corpus has none but those that were learnt from."""
    if found.judges:
        return f"{found.judges} passages that were not learnt from"
    return f"passages that were learnt from, because the corpus has only {found.learnt} to calibrate with"
