"""Packages that carry data are pinned where they are named; all of them agree with the lock."""

from pathlib import Path

from kmem.encoder.defaults import SMOLLM2
from kmem.encoder.packaged import PACKAGED
from kmem.kbuild.corpora import _LAW_WHEEL, _WHEEL
from kmem.kstore.index.embed import MINILM_INSTALL


def test_the_lock_knows_the_packages_that_carry_data() -> None:
    locked = Path(__file__).parents[1].joinpath("constraints.txt").read_text().splitlines()
    for pin in (*PACKAGED[SMOLLM2].requirements, _WHEEL, _LAW_WHEEL, MINILM_INSTALL.split()[-1]):
        assert pin in locked
