"""Which word was it? A question with a short answer, made by rule: a name or number is blanked out of its sentence."""

import re

from transformers import PreTrainedTokenizerBase

from kmem.training.passages import Passage
from kmem.training.probes.probe import Probe, make_probe

_SENTENCE = re.compile(r"(?<=[.!?]) ")
_ANSWER = re.compile(r"(?<=[a-z,] )(?:\d[\d,.]*\d|\d|[A-Z][\w-]+(?: [A-Z][\w-]+){0,2})(?=[ ,.;)]|$)")
_REFERENCE_CHARACTERS = 400
"""About what 128 tokens hold: an answer beyond is not in the memory."""


def question(tokenizer: PreTrainedTokenizerBase, passage: Passage) -> Probe | None:
    """`Question: Which words are missing in "… ___ …"?` → the number or name that was there, the first that its title does not say.

    None where no sentence of the reference has one.
    """
    for sentence in _SENTENCE.split(passage.body[:_REFERENCE_CHARACTERS])[:-1] or [passage.body[:_REFERENCE_CHARACTERS]]:
        for match in _ANSWER.finditer(sentence):
            if match.group() not in passage.title:
                blanked = f"{sentence[: match.start()]}___{sentence[match.end() :]}"
                prompt = f'Question: About {passage.title or "this"}, which words are missing in "{blanked}"?\nAnswer:'
                return make_probe(tokenizer, passage, prompt=prompt, target=f" {match.group()}")
    return None
