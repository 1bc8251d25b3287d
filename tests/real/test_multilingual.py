"""The published multilingual-e5-small, for those who installed its package: Chinese questions find their article."""

from importlib.util import find_spec

import numpy as np
import pytest

from kmem.kstore.index.embed import Embedder
from kmem.kstore.index.multilingual import INSTALL, PACKAGE

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.skipif(find_spec(PACKAGE) is None, reason=INSTALL)]

ARTICLES = {
    "员工刚入职最多可以试用多久?": "劳动合同期限三年以上的，试用期不得超过六个月。",
    "捕猎珍稀鸟类违法吗?": "禁止猎捕、杀害国家重点保护野生动物。",
    "两人结婚要多大年纪?": "结婚年龄，男不得早于二十二周岁，女不得早于二十周岁。",
    "How do computers look up values quickly?": "散列表把键映射到值，平均在常数时间内完成查找。",
}


def test_questions_find_their_article_also_across_languages() -> None:
    embedder = Embedder("multilingual")
    scores = embedder.embed_queries(list(ARTICLES)) @ embedder.embed(list(ARTICLES.values())).T
    assert np.array_equal(scores.argmax(axis=1), np.arange(len(ARTICLES)))
