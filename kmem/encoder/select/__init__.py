"""Token selectors: which tokens of a reference a key-value head keeps. Higher score = kept; ties go to the earlier token.

A new selector is one file here, one line in SELECTORS, one row in tests/encoder/test_select.py and one in the README's table.
"""

from kmem.encoder.select.expected import expected
from kmem.encoder.select.first import first
from kmem.encoder.select.h2o import h2o
from kmem.encoder.select.innovation import innovation
from kmem.encoder.select.knorm import knorm
from kmem.encoder.select.memory3 import memory3, memory3_exp
from kmem.encoder.select.namm import namm
from kmem.encoder.select.random import random
from kmem.encoder.select.view import LayerView, Selector
from kmem.encoder.select.vnorm import vnorm
from kmem.errors import UnknownNameError

__all__ = ["SELECTORS", "LayerView", "Selector", "selector"]

SELECTORS: dict[str, Selector] = {
    "expected": expected,
    "first": first,
    "h2o": h2o,
    "innovation": innovation,
    "knorm": knorm,
    "memory3": memory3,
    "memory3-exp": memory3_exp,
    "namm": namm,
    "random": random,
    "vnorm": vnorm,
}


def selector(name: str) -> Selector:
    """The selector of that name; raises UnknownNameError listing the others."""
    if name not in SELECTORS:
        raise UnknownNameError("selector", name, list(SELECTORS))
    return SELECTORS[name]
