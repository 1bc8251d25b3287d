"""The lessons of a recipe: passages to learn from, and the batch of each step, a matter of seed and number alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from kmem.errors import SourceNotFoundError
from kmem.identity import content_id
from kmem.runtime.schedule import Ids
from kmem.training.memory.example import Example
from kmem.training.memory.layout import chunked, readings
from kmem.training.memory.recipe import DataConfig, Recipe
from kmem.training.objective import SHARES
from kmem.training.passages import Passage, passages
from kmem.training.probes import PROBES, Probe, reference_ids


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """learnt: passages to learn from. judged: held-out ones for the curve. Both in an order of their hash, no document in both."""

    learnt: tuple[Passage, ...]
    judged: tuple[Passage, ...]


def read_corpora(data: DataConfig) -> Corpus:
    """Raises SourceNotFoundError where calibration's share leaves nothing to learn from, and what reading the corpora raises."""
    learnt = [passage for corpus in data.corpora for passage in passages(corpus, held_out=False)[data.reserved :]]
    judged = [passage for corpus in data.corpora for passage in passages(corpus, held_out=True)]
    if not learnt:
        raise SourceNotFoundError(
            f"{', '.join(data.corpora)} hold nothing to learn from beside the {data.reserved} documents that calibration looks at; name a "
            "larger corpus, or set data.reserved."
        )
    return Corpus(learnt=tuple(mixed(learnt)[: data.passages]), judged=tuple(mixed(judged)[: data.judged]))


def mixed(found: Sequence[Passage]) -> list[Passage]:
    """The corpora's passages among one another, in the order of `passages`."""
    return sorted(found, key=lambda passage: content_id(passage.id))


class Lessons:
    """references: token ids of each passage's first 128 tokens; examples read them by their place here.

    found: for each chunk of each sequence of running text, what a search found for it (`retrieval.py`); empty where none is asked for.
    Raises SourceNotFoundError where questions are asked for and the passages give none.
    """

    def __init__(
        self, recipe: Recipe, learnt: Sequence[Passage], tokenizer: PreTrainedTokenizerBase, found: Sequence[Sequence[Ids]] = ()
    ) -> None:
        self.recipe = recipe
        self.references = [reference_ids(tokenizer, passage) for passage in learnt]
        self.sequences = sequences_of(learnt, tokenizer, recipe.text.tokens) if recipe.text.batch_size else []
        self._found = found
        self._asked = questions_of(learnt, tokenizer) if recipe.asked.batch_size else {}

    def batch(self, number: int) -> list[Example]:
        """Batch `number`: what is asked, then running text."""
        chance = random.Random(f"{self.recipe.seed} {number}")
        return [*self._questions(number, chance), *(self._sequence(chance) for _ in range(self.recipe.text.batch_size))]

    def _questions(self, number: int, chance: random.Random) -> list[Example]:
        asked = self.recipe.asked
        kinds = list(self._asked)
        among = asked.among if number % asked.among_every == asked.among_every - 1 else 1
        chosen = []
        for kind in chance.choices(kinds, [SHARES[kind] for kind in kinds], k=asked.batch_size) if kinds else ():
            row, probe = chance.choice(self._asked[kind])
            others = [other for other in chance.sample(range(len(self.references)), min(among, len(self.references))) if other != row]
            read = [row, *others[: among - 1]]
            chance.shuffle(read)
            chosen.append(question(probe, tuple(read)))
        return chosen

    def _sequence(self, chance: random.Random) -> Example:
        text, index = self.recipe.text, chance.randrange(len(self.sequences))
        tokens = self.sequences[index]
        reads = readings(self._found[index], before=text.before)
        return Example(context=tokens[:1], target=tokens[1:], reads=chunked(reads, len(tokens), chunk=text.chunk))


def question(probe: Probe, reads: Ids) -> Example:
    """A probe that reads these references from its first token on."""
    length = len(probe.context) + len(probe.target)
    return Example(context=probe.context, target=probe.target, reads=((0, length, reads),), taught=probe.text_context)


def questions_of(learnt: Sequence[Passage], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[tuple[int, Probe]]]:
    """Probes of each kind with the rows of their passages. Raises SourceNotFoundError where there are none."""
    made = {kind: [(row, make(tokenizer, passage)) for row, passage in enumerate(learnt)] for kind, make in PROBES.items()}
    found = {kind: [(row, probe) for row, probe in probes if probe is not None and probe.target] for kind, probes in made.items()}
    if not any(found.values()):
        raise SourceNotFoundError("The corpus gives nothing to ask about; name one whose documents have titles and sentences.")
    return {kind: probes for kind, probes in found.items() if probes}


def sequences_of(learnt: Sequence[Passage], tokenizer: PreTrainedTokenizerBase, tokens: int) -> list[tuple[int, ...]]:
    """All passages as one stream, an end of text behind each, cut into sequences of so many tokens; the rest is left.

    Raises SourceNotFoundError where there is not one.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream: list[int] = []
    for passage in learnt:
        stream += [*tokenizer(passage.reference, add_special_tokens=False)["input_ids"], *end]
    found = [tuple(stream[at : at + tokens]) for at in range(0, len(stream) - tokens + 1, tokens)]
    if not found:
        raise SourceNotFoundError(f"The corpus has {len(stream)} tokens to learn from, not the {tokens} of one sequence.")
    return found
