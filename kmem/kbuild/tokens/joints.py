"""Where a run of Chinese comes apart: between two characters over which no token of the vocabulary reaches.

A BPE model joins two symbols only to one that its vocabulary has. Where no token holds the end of one character and the beginning of the
next, nothing is ever joined over that place, and a word has the tokens of what stands before it and of what stands behind. A vocabulary
learnt from other languages joins few Chinese characters (SmolLM2's three pairs: 一个, 数据, 文件), so runs of which half are new consist
of parts that are nearly all known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend

from kmem.kbuild.tokens.merging import bytes_of_token

_HAN = np.arange(0x4E00, 0xA000)
_BYTES = np.stack([_HAN >> 12 | 0xE0, _HAN >> 6 & 0x3F | 0x80, _HAN & 0x3F | 0x80], 1).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Joints:
    """Code points. Between two of `apart` words come apart, unless the first is in `ends` and the second in `begins`: some token holds the
    last bytes of the one, and some token the first bytes of the other, with others beside them.
    """

    apart: NDArray[np.int64]
    ends: NDArray[np.int64]
    begins: NDArray[np.int64]


def joints_of(backend: Backend) -> Joints | None:
    """None where a part may have tokens that it hasn't within its word: whole words are looked up before anything is joined."""
    if getattr(backend.model, "ignore_merges", False):
        return None
    ends, begins = np.zeros(len(_HAN), np.bool_), np.zeros(len(_HAN), np.bool_)
    for token in backend.get_vocab(with_added_tokens=False):
        if token.isascii() or (data := bytes_of_token(token)) is None:
            continue
        starts = [at for at, byte in enumerate(data) if byte & 0xC0 != 0x80]
        edges = sorted({0, *starts, len(data)})
        for before, at, after in zip(edges, edges[1:], edges[2:], strict=False):
            left, right = data[before:at][-3:], data[at:after][:3]
            if right[0] >= 0xE0:
                ends |= (_BYTES[:, 3 - len(left) :] == np.frombuffer(left, np.uint8)).all(1)
                begins |= (_BYTES[:, : len(right)] == np.frombuffer(right, np.uint8)).all(1)
    return Joints(apart=_HAN, ends=_HAN[ends], begins=_HAN[begins])
