"""Questions with short answers: exact match, token F1 (as SQuAD counts it) and the answer's loss, by what the model knows from."""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.nll import target_nlls
from kmem.bench.share import shares
from kmem.bench.stored import as_stored
from kmem.encoder.encode import Encoder
from kmem.errors import SourceError
from kmem.kbuild.readers.decode import read_utf8
from kmem.memories import Memories
from kmem.profile import SPAN_TOKENS, Profile
from kmem.progress import Progress, silent
from kmem.runtime.attach import attach
from kmem.training.passages import Passage
from kmem.training.probes import Probe, behind_texts, make_probe

ANSWER_TOKENS = 16
PROMPTS = {"question_answer": "Question: {question}\nAnswer:", "q_a": "Q: {question}\nA:", "bare": "{question}\n"}
"""Ways to put a question; what depends on one of them would be a memory of a form, not of a text."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, its short answer, and the text that says it."""

    question: str
    answer: str
    context: str


def load_questions(path: str) -> list[Question]:
    """Questions of a JSONL file. Raises SourceError naming the line."""
    found = []
    for number, line in enumerate(read_utf8(Path(path)).split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
                fields = {name: record[name] for name in ("question", "answer", "context")}
            except (ValueError, TypeError, KeyError) as error:
                raise SourceError(f"{path}, line {number} lacks a question, an answer or a context ({error!r}): add it.") from error
            if not all(isinstance(value, str) and value.strip() for value in fields.values()):
                raise SourceError(f"{path}, line {number}: question, answer and context must be strings that are not empty.")
            found.append(Question(**fields))
    if not found:
        raise SourceError(f"{path} holds no question: write one JSON object a line.")
    return found


def measure_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    profiles: dict[str, Profile],
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """`nll`, `share_of_text_gain` and `low95` of the answers, `exact_match` and `f1` of greedy ones; `contexts_cut`, beyond 128 tokens.

    Ways to know: nothing; `text` in the prompt as DESIGN §3 has it, one newline before the question; `text_in_bracket`, between the
    first profile's prefix and suffix, the very words its memories were encoded with; each profile. Small models can depend on that
    newline, so `share_of_bracketed_text_gain` (and `low95_bracketed`) are there beside the share that the definition asks for, and as
    `prompts` that share of each profile when the question is put in each of the PROMPTS; all else is in the first of them.
    """
    bracketed = next(iter(profiles.values()))
    asked = {name: _probes(tokenizer, questions, template) for name, template in PROMPTS.items()}
    main = next(iter(asked))
    losses: dict[str, dict[str, list[float]]] = {name: {} for name in PROMPTS}
    exact: dict[str, float] = {}
    f1: dict[str, float] = {}
    ways: dict[str, tuple[Callable[[Probe], Sequence[int]], Profile | None]] = {
        "nothing": (lambda probe: probe.nothing_context, None),
        "text": (lambda probe: probe.text_context, None),
        "text_in_bracket": (lambda probe: text_in_bracket(tokenizer, probe, bracketed), None),
        **{name: ((lambda probe: probe.context), profile) for name, profile in profiles.items()},
    }
    progress("questions", 0, len(ways))
    for done, (way, (context_of, profile)) in enumerate(ways.items()):
        memories, reads = None, None
        if profile is not None:
            encoder = Encoder(model, tokenizer, profile)
            memories = as_stored(encoder.encode_tokens([probe.reference for probe in asked[main]], range(len(questions))))
            reads = [(index,) for index in range(len(questions))]
        for name, probes in asked.items():
            pairs = [(context_of(probe), probe.target) for probe in probes]
            losses[name][way] = target_nlls(model, pairs, memories=memories, reads=reads)
        given = [answer(model, tokenizer, context_of(probe), memories, index) for index, probe in enumerate(asked[main])]
        scores = [(text, question.answer) for text, question in zip(given, questions, strict=True)]
        exact[way] = sum(normalised(text) == normalised(truth) for text, truth in scores) / len(scores)
        f1[way] = sum(token_f1(text, truth) for text, truth in scores) / len(scores)
        progress("questions", done + 1, len(ways))
    share, low = shares(losses[main])
    in_bracket = {name: shares({**values, "text": values["text_in_bracket"]}) for name, values in losses.items()}
    tokens = sum(len(probe.target) for probe in asked[main])
    contexts = [tokenizer(question.context, add_special_tokens=False)["input_ids"] for question in questions]
    return {
        "nll": {way: sum(values) / tokens for way, values in losses[main].items()},
        "share_of_text_gain": share,
        "low95": low,
        "share_of_bracketed_text_gain": in_bracket[main][0],
        "low95_bracketed": in_bracket[main][1],
        "prompts": {name: {way: found[way] for way in profiles} for name, (found, _) in in_bracket.items()},
        "exact_match": exact,
        "f1": f1,
        "contexts_cut": sum(len(context) > SPAN_TOKENS for context in contexts),
    }


def _probes(tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], template: str) -> list[Probe]:
    return [
        make_probe(tokenizer, Passage("", asked.context), prompt=template.format(question=asked.question), target=f" {asked.answer}")
        for asked in questions
    ]


def text_in_bracket(tokenizer: PreTrainedTokenizerBase, probe: Probe, profile: Profile) -> list[int]:
    """The question behind the reference as text, between the profile's prefix and suffix."""
    return behind_texts(tokenizer, probe, [probe.reference], prefix=profile.prefix, suffix=profile.suffix)


def answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: Sequence[int], memories: Memories | None, index: int
) -> str:
    """The greedy answer up to its first line end."""
    ids = torch.tensor([list(context)], device=model.device)
    options: dict[str, Any] = {"max_new_tokens": ANSWER_TOKENS, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    with torch.inference_mode():
        if memories is None:
            output = model.generate(ids, **options)
        else:
            with attach(model, memories.take([index])):
                output = model.generate(ids, **options)
    text: str = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    return text.strip().split("\n")[0]


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and double spaces, as SQuAD's script compares."""
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def token_f1(given: str, truth: str) -> float:
    """Harmonic mean of precision and recall over words."""
    ours, theirs = normalised(given).split(), normalised(truth).split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0
