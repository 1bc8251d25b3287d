"""What is heavy and stays with a worker: model, tokenizer, embedder, scorer. Made there, once, by a recipe that travels as text."""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from threading import RLock
from typing import Any, Protocol, TypeVar

from transformers import PreTrainedTokenizerBase

from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.hidden import HiddenStates
from kmem.encoder.load import load_model, load_tokenizer
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.index.retrievers import retriever
from kmem.profile import Profile

Made = TypeVar("Made")
TOLD_CHARACTERS = 1 << 18


class Spoken(Protocol):
    """What holds text."""

    @property
    def text(self) -> str: ...


Text = TypeVar("Text", bound=Spoken)


class Tools:
    """What a worker process holds between tasks, by what it was made of; and how a task says that some of its units are done."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}
        self._lock = RLock()
        self.advance: Callable[[int], None] = _nothing

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made under this key; made now unless it was. Threads that want the same wait for one another."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            found: Made = self._made[key]
            return found

    def put(self, key: Hashable, made: object) -> None:
        """Keep what was made elsewhere in this process."""
        with self._lock:
            self._made[key] = made


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make the encoder and the retriever of a build. profile: its JSON; dtype: a precision by name, never `auto`, which goes by
    the machine. Making raises what `load_model`, `Encoder` and `retriever` do.
    """

    model: str
    dtype: str
    device: str
    batch_size: int
    profile: str
    embedder: str
    query_prefix: str | None = None
    passage_prefix: str | None = None

    def encoder(self, tools: Tools) -> Encoder:
        return tools.get(("encoder", self), self._make_encoder)

    def retriever(self, tools: Tools) -> Retriever:
        return tools.get(("retriever", self), lambda: self._make_retriever(tools))

    def tokenizer(self, tools: Tools) -> PreTrainedTokenizerBase:
        """The model's own, without the model."""
        return tools.get(("tokenizer", self.model), lambda: load_tokenizer(self.model))

    def _make_encoder(self) -> Encoder:
        model, tokenizer = load_model(self.model, dtype=self.dtype, device=self.device)
        return Encoder(model, tokenizer, Profile.from_dict(json.loads(self.profile)), EncoderConfig(batch_size=self.batch_size))

    def _make_retriever(self, tools: Tools) -> Retriever:
        def hidden() -> HiddenStates:
            encoder = self.encoder(tools)
            return HiddenStates(encoder.model, encoder.tokenizer, batch_size=self.batch_size)

        return retriever(self.embedder, query_prefix=self.query_prefix, passage_prefix=self.passage_prefix, hidden=hidden)


def telling(texts: Iterable[Text], tools: Tools) -> Iterator[Text]:
    """The same texts; their characters are told as they pass, some hundred thousand at a time."""
    passed = 0
    for text in texts:
        yield text
        passed += len(text.text)
        if passed >= TOLD_CHARACTERS:
            tools.advance(passed)
            passed = 0


def _nothing(count: int) -> None:
    """Nobody watches."""
