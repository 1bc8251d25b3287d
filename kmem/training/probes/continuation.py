"""How does it go on? The first words of a text, and the rest: reciting what was read."""

from transformers import PreTrainedTokenizerBase

from kmem.training.passages import Passage
from kmem.training.probes.probe import Probe, make_probe

PROMPT_WORDS = 12


def continuation(tokenizer: PreTrainedTokenizerBase, passage: Passage) -> Probe | None:
    """The first 12 words → the next 40 tokens; None where the text ends before."""
    words = passage.body.split(" ")
    prompt, rest = " ".join(words[:PROMPT_WORDS]), " ".join(words[PROMPT_WORDS:])
    return make_probe(tokenizer, passage, prompt=prompt, target=" " + rest) if rest else None
