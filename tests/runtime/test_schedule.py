"""Which span a token belongs to, and what it retrieves with (Memory³ §3.5)."""

from collections.abc import Sequence

import pytest

from kmem.runtime.schedule import ReplayedRow, RowSchedule, Span


def answer(row: RowSchedule) -> list[list[int]]:
    """Let every waiting span read one memory named after the first token of its query."""
    queries = []
    for set_ids, query in row.take_queries():
        set_ids((query[0],))
        queries.append(list(query))
    return queries


def spans(row: RowSchedule) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(span.start, span.stop, span.ids) for span in row.spans]


def test_a_prompt_retrieves_chunk_by_chunk_with_its_own_text() -> None:
    row = RowSchedule(0, every=4)
    row.read(list(range(10)))
    assert answer(row) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert spans(row) == [(0, 4, (0,)), (4, 8, (4,)), (8, 10, (8,))]


def test_generated_tokens_inherit_and_then_retrieve_with_the_last_span() -> None:
    row = RowSchedule(0, every=4)
    row.read([0, 1, 2, 3, 4])
    answer(row)
    for token in range(100, 104):
        row.generate(token)
        assert answer(row) == []
    row.generate(104)
    assert answer(row) == [[100, 101, 102, 103]]
    assert spans(row) == [(0, 4, (0,)), (4, 5, (4,)), (5, 9, (4,)), (9, 10, (100,))]


def test_128_in_and_128_out_retrieve_three_times() -> None:
    """The paper counts 2·128/64 − 1 = 3 (§7.5)."""
    row = RowSchedule(0, every=64)
    row.read(list(range(128)))
    retrievals = len(answer(row))
    for token in range(128):
        row.generate(token)
        retrievals += len(answer(row))
    assert retrievals == 3


@pytest.mark.parametrize("pieces", [[10], [4, 6], [1, 9], [3, 3, 4]])
def test_a_prompt_in_pieces_has_the_same_boundaries(pieces: Sequence[int]) -> None:
    row = RowSchedule(0, every=4)
    start = 0
    for size in pieces:
        row.read(list(range(start, start + size)))
        answer(row)
        start += size
    assert [(span.start, span.stop) for span in row.spans] == [(0, 4), (4, 8), (8, 10)]


def test_a_second_turn_starts_a_new_span() -> None:
    row = RowSchedule(0, every=4)
    row.read([0, 1])
    row.generate(2)
    answer(row)
    row.read([3, 4])
    assert answer(row) == [[3, 4]]
    assert [(span.start, span.stop) for span in row.spans] == [(0, 2), (2, 3), (3, 5)]


def test_retrieving_once_hands_the_first_memories_down() -> None:
    row = RowSchedule(0, every=None)
    row.read([0, 1, 2])
    assert answer(row) == [[0, 1, 2]]
    for token in range(3, 200):
        row.generate(token)
    row.read([7, 8])
    assert answer(row) == []
    assert {span.ids for span in row.spans} == {(0,)}


def test_replaying_clips_to_the_tokens_seen() -> None:
    given = [Span(row=1, start=0, stop=4, ids=(9,)), Span(row=0, start=0, stop=4, ids=(7,)), Span(row=0, start=4, stop=8, ids=(8,))]
    row = ReplayedRow(0, given)
    row.read([1, 2, 3])
    assert spans(row) == [(0, 3, (7,))]
    row.generate(4)
    row.generate(5)
    assert spans(row) == [(0, 4, (7,)), (4, 5, (8,))]
    assert row.take_queries() == []
