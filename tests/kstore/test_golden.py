"""Today's reader reads yesterday's bytes. The folder is never made by a test: where it is missing, this fails."""

import json

from tests.kstore.golden import BANK, EXPECTED, answers


def test_the_golden_bank_reads_as_it_did() -> None:
    assert BANK.is_dir(), "tests/golden/bank is missing; restore it from git (tests/golden/PROVENANCE.md)"
    assert answers(BANK) == json.loads(EXPECTED.read_text())
