"""From scores to slots."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kmem.encoder.keep import gather_slots, keep_positions
from kmem.memories import EMPTY_SLOT


def test_keeps_the_highest_ascending_with_ties_to_the_earlier() -> None:
    scores = torch.tensor([[[0.0, 3.0, 1.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0]]])
    valid = torch.ones(1, 5, dtype=torch.bool)
    assert keep_positions(scores, valid, (3, 2)).tolist() == [[1, 3, 4, 0, 1]]


def test_short_chunks_leave_slots_empty_at_the_end_of_a_head() -> None:
    scores = torch.randn(2, 2, 4)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    positions = keep_positions(scores, valid, (3, 6))
    assert positions[1].tolist() == [0, 1, EMPTY_SLOT, 0, 1, *[EMPTY_SLOT] * 4]
    assert positions[0, 3:].tolist() == [0, 1, 2, 3, EMPTY_SLOT, EMPTY_SLOT]


@given(st.integers(1, 20), st.lists(st.integers(0, 25), min_size=2, max_size=2), st.integers(0, 10_000))
def test_matches_a_plain_loop(tokens: int, budget: list[int], seed: int) -> None:
    scores = torch.randint(0, 4, (1, 2, tokens), generator=torch.Generator().manual_seed(seed)).float()
    positions = keep_positions(scores, torch.ones(1, tokens, dtype=torch.bool), budget)[0].tolist()
    expected: list[int] = []
    for head, kept in enumerate(budget):
        best = sorted(sorted(range(tokens), key=lambda j, h=head: (-scores[0, h, j].item(), j))[:kept])  # type: ignore[misc]
        expected += best + [EMPTY_SLOT] * (kept - len(best))
    assert positions == expected


def test_gather_zeroes_empty_slots() -> None:
    states = torch.full((1, 2, 3, 4), float("nan"))
    states[0, 1, 2] = 5.0
    slots = gather_slots(states, torch.tensor([[2, EMPTY_SLOT]], dtype=torch.uint8), torch.tensor([1, 0]))
    assert slots.tolist() == [[[5.0] * 4, [0.0] * 4]]
