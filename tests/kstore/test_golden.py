"""Today's reader reads yesterday's bytes. The folders are never made by a test: where one is missing, this fails."""

import json

import pytest

from kmem.kstore.manifest import READABLE_VERSIONS
from tests.kstore.golden import answers, bank_of


@pytest.mark.parametrize("version", READABLE_VERSIONS)
def test_the_golden_bank_reads_as_it_did(version: int) -> None:
    bank = bank_of(version)
    assert bank.is_dir(), f"{bank} is missing; restore it from git (tests/golden/PROVENANCE.md)"
    assert answers(bank) == json.loads(bank.with_suffix(".json").read_text())


def test_all_formats_say_the_same() -> None:
    first, *others = (json.loads(bank_of(version).with_suffix(".json").read_text()) for version in READABLE_VERSIONS)
    assert all(other == first for other in others)
