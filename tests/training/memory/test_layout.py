"""Which chunk reads which references."""

import torch

from kmem.training.memory.layout import chunked, readings, segments_of


def test_the_papers_layout_reads_its_own_and_the_four_before() -> None:
    found = [(place,) for place in (10, 11, 12, 13, 14, 15, 16)]
    assert readings(found, before=4) == [
        (10,),
        (11, 10),
        (12, 11, 10),
        (13, 12, 11, 10),
        (14, 13, 12, 11, 10),
        (15, 14, 13, 12, 11),
        (16, 15, 14, 13, 12),
    ]


def test_several_of_its_own_and_none_of_others() -> None:
    assert readings([(1, 2), (3, 4)], before=0) == [(1, 2), (3, 4)]


def test_what_two_chunks_found_is_read_once_and_what_none_found_is_nothing() -> None:
    assert readings([(), (7, 8), (8, 9)], before=1) == [(), (7, 8), (8, 9, 7)]


def test_chunks_are_runs_of_tokens_and_the_last_may_be_short() -> None:
    assert chunked([(1,), (), (2, 1)], 150, chunk=64) == ((0, 64, (1,)), (128, 150, (2, 1)))


def test_columns_of_a_batch_name_where_memories_lie() -> None:
    segments = segments_of([((0, 3, (7,)),), (), ((0, 2, (9, 7)), (2, 5, (9,)))], {7: 0, 9: 1})
    assert segments is not None
    assert (segments.row, segments.first, segments.last) == ((0, 2, 2), (0, 0, 2), (3, 2, 5))
    assert torch.equal(segments.resident, torch.tensor([[0, -1], [1, 0], [1, -1]]))
    assert segments_of([(), ()], {}) is None
