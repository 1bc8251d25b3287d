"""Packages that carry data are pinned where they are named; all of them agree with the lock."""

from pathlib import Path

from kmem.encoder.smollm2 import PACKAGE
from kmem.kbuild.corpora import _WHEEL
from kmem.kstore.index.embed import MINILM_INSTALL


def test_the_lock_knows_the_packages_that_carry_data() -> None:
    locked = Path(__file__).parents[1].joinpath("constraints.txt").read_text().splitlines()
    for pin in (PACKAGE, _WHEEL, MINILM_INSTALL.split()[-1]):
        assert pin in locked
