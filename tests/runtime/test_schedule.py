"""Which span a token belongs to, and what it retrieves with (Memory³ §3.5)."""

from collections.abc import Sequence
from typing import Any, get_args

import pytest

from kmem.errors import ConfigError, WrongTypeError
from kmem.runtime.defaults import RetrievalMode
from kmem.runtime.replay import ReplayedRow, require_schedule
from kmem.runtime.schedule import Cadence, RowSchedule, RowSpans, Span

EOS, PAD = 1000, 1001
MODES: tuple[RetrievalMode, ...] = get_args(RetrievalMode)


def row_of(mode: RetrievalMode = "paper", every: int = 4) -> RowSchedule:
    return RowSchedule(0, Cadence(mode=mode, every=every, ends=frozenset({EOS, PAD})))


def answer(row: RowSpans) -> list[list[int]]:
    """Let every waiting span read one memory named after the first token of its query."""
    queries = []
    for set_ids, query in row.take_queries():
        set_ids((query[0],))
        queries.append(list(query))
    return queries


def fed(row: RowSpans, *pieces: Sequence[int] | int, retrieve: bool = True) -> list[list[int]]:
    """Feed prompts (sequences) and generated tokens (numbers) → the queries of all passes."""
    queries = []
    for piece in pieces:
        if isinstance(piece, int):
            row.generate(piece, retrieve=retrieve)
        else:
            row.read(list(piece))
        queries += answer(row)
    return queries


def spans(row: RowSpans) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(span.start, span.stop, span.ids) for span in row.spans]


# ---------------------------------------------------------------- what a chunk retrieves with, mode by mode


def test_paper_retrieves_prompt_chunks_with_their_own_text() -> None:
    row = row_of("paper")
    assert fed(row, range(10)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert spans(row) == [(0, 4, (0,)), (4, 8, (4,)), (8, 10, (8,))]


def test_shifted_retrieves_prompt_chunks_with_the_chunk_before() -> None:
    row = row_of("shifted")
    assert fed(row, range(10)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert spans(row) == [(0, 4, ()), (4, 8, (0,)), (8, 10, (4,))]


def test_once_retrieves_with_the_whole_prompt_for_ever() -> None:
    row = row_of("once")
    assert fed(row, range(10), *range(100, 300), [7, 8]) == [list(range(10))]
    assert spans(row) == [(0, 10, (0,)), (10, 210, (0,)), (210, 212, (0,))]


def test_paper_generated_text_inherits_and_then_retrieves_with_the_last_chunk() -> None:
    row = row_of("paper")
    assert fed(row, range(5), *range(100, 105)) == [[0, 1, 2, 3], [4], [100, 101, 102, 103]]
    assert spans(row) == [(0, 4, (0,)), (4, 5, (4,)), (5, 9, (4,)), (9, 10, (100,))]


def test_shifted_generated_text_retrieves_with_the_chunk_before_from_its_first_token() -> None:
    row = row_of("shifted")
    assert fed(row, range(5), *range(100, 105)) == [[0, 1, 2, 3], [4], [100, 101, 102, 103]]
    assert spans(row) == [(0, 4, ()), (4, 5, (0,)), (5, 9, (4,)), (9, 10, (100,))]


@pytest.mark.parametrize(("mode", "expected"), [("paper", 3), ("shifted", 3), ("once", 1)])
def test_128_in_and_128_out_retrieve_three_times(mode: RetrievalMode, expected: int) -> None:
    """The paper counts 2·128/64 − 1 = 3 (§7.5); so does `shifted`, one chunk later each."""
    assert len(fed(row_of(mode, 64), range(128), *range(128))) == expected


@pytest.mark.parametrize(("mode", "expected"), [("paper", [[0, 1, 2]]), ("shifted", [[0, 1, 2]]), ("once", [[0, 1, 2]])])
def test_a_prompt_shorter_than_a_chunk(mode: RetrievalMode, expected: list[list[int]]) -> None:
    row = row_of(mode)
    assert fed(row, range(3), 100) == expected
    assert spans(row) == [(0, 3, () if mode == "shifted" else (0,)), (3, 4, (0,))]


@pytest.mark.parametrize(("mode", "expected"), [("paper", [[100, 101, 102, 103]]), ("shifted", [[100, 101, 102, 103]]), ("once", [[100]])])
def test_a_row_without_a_prompt(mode: RetrievalMode, expected: list[list[int]]) -> None:
    """All of its prompt was padding."""
    row = row_of(mode)
    assert fed(row, *range(100, 105)) == expected
    assert spans(row)[0][2] == ((100,) if mode == "once" else ())


# ---------------------------------------------------------------- a prompt in pieces, turns


@pytest.mark.parametrize("pieces", [[10], [4, 6], [1, 9], [3, 3, 4], [5, 5], [2, 2, 2, 2, 2]])
@pytest.mark.parametrize("mode", ["shifted", "once"])
def test_a_prompt_in_pieces_reads_the_same(mode: RetrievalMode, pieces: Sequence[int]) -> None:
    whole, row = row_of(mode), row_of(mode)
    fed(whole, range(10), 10)
    starts = [sum(pieces[:index]) for index in range(len(pieces))]
    fed(row, *(range(start, start + size) for start, size in zip(starts, pieces, strict=True)), 10)
    assert spans(row) == spans(whole)


def test_paper_a_chunk_cut_by_a_piece_retrieves_anew_with_all_of_it() -> None:
    """A question after a short system prompt whose cache is re-used must not read what the system prompt alone finds."""
    row = row_of("paper")
    assert fed(row, [0], range(1, 10), 10) == [[0], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [(start, stop) for start, stop, _ in spans(row)] == [(0, 1), (1, 4), (4, 8), (8, 10), (10, 11)]
    aligned = row_of("paper")
    assert fed(aligned, range(4), range(4, 10)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(("mode", "query"), [("paper", [3, 4]), ("shifted", [2])])
def test_a_second_turn_starts_a_chunk(mode: RetrievalMode, query: list[int]) -> None:
    row = row_of(mode)
    fed(row, [0, 1], 2)
    assert fed(row, [3, 4]) == [query]
    assert [(start, stop) for start, stop, _ in spans(row)] == [(0, 2), (2, 3), (3, 5)]


@pytest.mark.parametrize("mode", MODES)
def test_beams_read_what_the_prompt_retrieved(mode: RetrievalMode) -> None:
    """Reordered rows: what they generated is no query."""
    row = row_of(mode)
    queries = fed(row, range(6), *range(100, 120), retrieve=False)
    assert all(query[0] < 100 for query in queries)
    assert {ids for start, _, ids in spans(row) if start >= 6} == {(0,) if mode == "once" else (4,)}


# ---------------------------------------------------------------- the end of a text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("generated", [0, 1, 3, 4, 5])
def test_a_finished_row_reads_and_retrieves_nothing_more(mode: RetrievalMode, generated: int) -> None:
    """As in a batch of one, where generation stops with the end token and never feeds it."""
    alone, row = row_of(mode), row_of(mode)
    text = [*range(100, 100 + generated)]
    queries = fed(alone, range(6), *text)
    assert fed(row, range(6), *text, EOS, *[PAD] * 20) == queries
    assert spans(row) == spans(alone)
    assert newest_ids(row) == ()
    assert len(row.tokens) == 6 + generated + 21  # they are columns all the same


def test_text_after_an_end_starts_a_chunk() -> None:
    row = row_of("paper")
    assert fed(row, [0, 1], 2, EOS, PAD, 5, 6) == [[0, 1], [2]]
    assert spans(row) == [(0, 2, (0,)), (2, 3, (0,)), (5, 7, (2,))]
    assert fed(row, [EOS, 8]) == [[EOS, 8]]  # in a prompt they are text


# ---------------------------------------------------------------- the version


def newest_ids(row: RowSpans) -> tuple[int, ...]:
    """What the newest token reads."""
    newest = len(row.tokens) - 1
    return next((span.ids for span in row.spans if span.start <= newest < span.stop), ())


def _check_version(row: RowSpans, before: tuple[int, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    """While it stays, what the newest token reads stays."""
    found = newest_ids(row)
    assert row.version > before[0] or found == before[1]
    return row.version, found


@pytest.mark.parametrize("mode", MODES)
def test_the_version_says_when_what_is_read_may_have_changed(mode: RetrievalMode) -> None:
    row = row_of(mode)
    seen = (row.version, newest_ids(row))
    pieces = [range(6), *range(100, 111), EOS, PAD, PAD, 111, 112, range(5), 113]
    versions = set()
    for piece in pieces:
        fed(row, piece)
        seen = _check_version(row, seen)
        versions.add(seen[0])
    assert len(versions) < len(pieces)
    replayed = ReplayedRow(0, row.spans)
    seen = (replayed.version, newest_ids(replayed))
    versions = set()
    for token in row.tokens:
        replayed.generate(token)
        seen = _check_version(replayed, seen)
        versions.add(seen[0])
    assert replayed.spans == row.spans
    assert len(versions) < len(row.tokens)


def test_a_step_within_a_span_builds_nothing() -> None:
    row = row_of("paper", 64)
    fed(row, range(64), 100)
    version, inside = row.version, row._spans[-1]
    for token in range(101, 163):
        row.generate(token)
    assert row.version == version
    assert row._spans[-1] is inside
    assert row.take_queries() == []


def test_spans_between_gives_those_with_a_token_there() -> None:
    row = row_of("paper")
    fed(row, range(10), 10, EOS, PAD, 13)
    every = row.spans
    for start in range(15):
        for stop in range(start, 15):
            assert row.spans_between(start, stop) == [span for span in every if span.start < stop and span.stop > start]


# ---------------------------------------------------------------- schedules given beforehand


def test_replaying_clips_to_the_tokens_seen() -> None:
    given = require_schedule(
        [Span(row=1, start=0, stop=4, ids=(9,)), Span(row=0, start=4, stop=8, ids=(8,)), Span(row=0, start=0, stop=4, ids=(7,))]
    )
    row = ReplayedRow(0, given)
    row.read([1, 2, 3])
    assert spans(row) == [(0, 3, (7,))]
    row.generate(4)
    row.generate(5)
    assert spans(row) == [(0, 4, (7,)), (4, 5, (8,))]
    assert row.take_queries() == []


def test_an_impossible_schedule_is_refused() -> None:
    def spanning(*bounds: tuple[int, int], row: int = 0) -> list[Span]:
        return [Span(row=row, start=start, stop=stop, ids=(1,)) for start, stop in bounds]

    for bounds, message in (
        ([(0, 8), (4, 9)], "Tokens 4 to 8 of row 0 are in two spans"),
        ([(4, 6), (0, 9)], "Tokens 4 to 6 of row 0"),
        ([(3, 4), (3, 4)], "Tokens 3 to 4"),
        ([(-1, 4)], "tokens -1 to 4 in row 0 can't be"),
        ([(5, 4)], "tokens 5 to 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            require_schedule(spanning(*bounds))
    with pytest.raises(ConfigError, match="row -1"):
        require_schedule(spanning((0, 1), row=-1))
    not_spans: Any = [{"row": 0, "start": 0, "stop": 4, "ids": [1]}]
    with pytest.raises(WrongTypeError, match=r"list of Span.*not of dict"):
        require_schedule(not_spans)
    assert require_schedule(spanning((4, 4), (0, 4), (4, 6)) + spanning((0, 9), row=1)) == tuple(
        spanning((0, 4), (4, 6)) + spanning((0, 9), row=1)
    )
