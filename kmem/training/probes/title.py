"""What is it? The title in a question, the beginning of the text as the answer (DESIGN §3)."""

from transformers import PreTrainedTokenizerBase

from kmem.training.passages import Passage
from kmem.training.probes.probe import Probe, make_probe


def title(tokenizer: PreTrainedTokenizerBase, passage: Passage) -> Probe | None:
    """`Question: What is {title}?` → the first 40 tokens of the body; None without a title."""
    if not passage.title:
        return None
    return make_probe(tokenizer, passage, prompt=f"Question: What is {passage.title}?\nAnswer:", target=" " + passage.body)
