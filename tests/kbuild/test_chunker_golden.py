"""Banks resume and grow: with the default options the same text gives the same chunks as when the first banks were built."""

import json
from pathlib import Path
from typing import Any

import pytest

from kmem.document import Document
from kmem.encoder.load import load_tokenizer
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.tokens import Tokenizer
from tests.tiny import byte_tokenizer

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "chunks.json").read_text(encoding="utf-8"))


def check(name: str, tokenizer: Tokenizer) -> None:
    documents = [Document(**document) for document in GOLDEN["documents"]]
    found = [[c.id, c.document_id, c.source, c.title, c.start, c.end, c.tokens] for c in Chunker(tokenizer).run(documents)]
    assert found == GOLDEN[name]
    assert len(found) > 200


def test_bytes() -> None:
    check("bytes", byte_tokenizer())


@pytest.mark.real
def test_smollm2() -> None:
    check("smollm2", load_tokenizer("smollm2"))
