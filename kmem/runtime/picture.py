"""Pictures of a memory and of a bank's budget; dollars in titles and tokens are no mathematics."""

from pathlib import Path

import numpy as np

from kmem.figures import save, subplots
from kmem.kstore.bank import Bank
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile
from kmem.runtime.inspect import KeptToken

INCHES_A_TOKEN, INCHES_A_LAYER = 0.16, 0.16


def draw_memory(bank: Bank, memory_id: int, tokens: list[KeptToken], path: Path) -> None:
    """Layer × token: how many key-value heads of the layer keep the token."""
    profile = bank.profile
    positions = bank.slot_position([memory_id])[0].numpy()
    kept = np.zeros((profile.layers, len(tokens)), dtype=np.int64)
    filled = positions != EMPTY_SLOT
    np.add.at(kept, (profile.slot_layer[filled], positions[filled]), 1)
    figure, axes = subplots(2.5 + INCHES_A_TOKEN * len(tokens), 1.8 + INCHES_A_LAYER * profile.layers)
    image = axes.imshow(kept, aspect="auto", cmap="viridis", vmin=0, vmax=profile.heads, origin="lower", interpolation="nearest")
    axes.set_xticks(range(len(tokens)), [token.text.strip() or "␣" for token in tokens], rotation=90, fontsize=6, parse_math=False)
    axes.set_ylabel("layer")
    axes.set_title(f"{bank.chunk(memory_id).title or memory_id}: which tokens each layer keeps", fontsize=9, parse_math=False)
    figure.colorbar(image, ax=axes, label="heads", ticks=range(profile.heads + 1))
    save(figure, path)


def draw_budget(profile: Profile, path: Path) -> None:
    """Layer × head: how many tokens each key-value head keeps."""
    budget = np.array(profile.budget)
    figure, axes = subplots(2.2 + 0.6 * profile.heads, 1.5 + 0.22 * profile.layers)
    image = axes.imshow(budget, aspect="auto", cmap="viridis", vmin=0, origin="lower", interpolation="nearest")
    for layer, head in zip(*np.nonzero(budget), strict=True):
        bright = budget[layer, head] > budget.max() / 2
        axes.text(head, layer, str(budget[layer, head]), ha="center", va="center", fontsize=7, color="black" if bright else "white")
    axes.set_xticks(range(profile.heads))
    axes.set_yticks(range(profile.layers), [str(layer) for layer in range(profile.layers)], fontsize=6)
    axes.set_xlabel("key-value head")
    axes.set_ylabel("layer")
    axes.set_title(f"{profile.name}: {profile.slots} slots", fontsize=9, parse_math=False)
    figure.colorbar(image, ax=axes, label="tokens kept")
    save(figure, path)
