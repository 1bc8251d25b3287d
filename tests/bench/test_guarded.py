"""The nearest references, of which none holds the question."""

import numpy as np

from kmem.bench.guarded import nearest
from kmem.leak.guard import EVALUATION, LeakGuard

GUARD = LeakGuard(threshold=EVALUATION)
QUESTION = [1, 2, 3, 4, 5, 6]
REFERENCES = [[9, 9, 9], QUESTION[:4], [1, 2, 7, 8], [7, 7, 7]]


def test_what_holds_the_question_makes_room_for_the_next() -> None:
    scores = np.array([[0.1, 0.9, 0.8, 0.1], [0.4, 0.3, 0.2, 0.1]], dtype=np.float32)
    assert nearest(scores, REFERENCES, [QUESTION, [5]], count=2, guard=GUARD) == ([(2, 0), (0, 1)], 1)


def test_only_what_would_have_been_read_is_looked_at() -> None:
    scores = np.array([[0.1, 0.2, 0.9, 0.3]], dtype=np.float32)
    assert nearest(scores, REFERENCES, [QUESTION], count=1, guard=GUARD) == ([(2,)], 0)


def test_there_may_be_fewer_than_asked_for() -> None:
    scores = np.ones((1, 4), dtype=np.float32)
    assert nearest(scores, REFERENCES, [QUESTION], count=9, guard=GUARD) == ([(0, 2, 3)], 1)
