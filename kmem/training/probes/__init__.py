"""Probes: one file a way to ask for what a reference says; a new one is a line here and a row in tests/training/test_probes.py."""

from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from kmem.training.passages import Passage
from kmem.training.probes.continuation import continuation
from kmem.training.probes.probe import TEXT_PREFIX, Probe, behind_texts, make_probe, reference_ids, target_nll
from kmem.training.probes.question import question
from kmem.training.probes.title import title

__all__ = ["PROBES", "TEXT_PREFIX", "MakeProbe", "Probe", "behind_texts", "make_probe", "reference_ids", "target_nll"]

MakeProbe = Callable[[PreTrainedTokenizerBase, Passage], Probe | None]

PROBES: dict[str, MakeProbe] = {
    "title": title,
    "continuation": continuation,
    "question": question,
}
