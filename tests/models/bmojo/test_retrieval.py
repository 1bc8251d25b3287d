"""Bounds hold, the best block is found, empty slots are never read."""

import torch

from kmem.models.bmojo.retrieval import BLOCK, bounds_of, retrieve


def store(size: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    filled = torch.ones(2, size, dtype=torch.bool)
    filled[1, 40:] = False
    return torch.randn(2, 3, size, 8, generator=random).masked_fill(~filled[:, None, :, None], 1e9), filled


def test_no_product_is_above_its_blocks_bound() -> None:
    key, filled = store()
    least, greatest = bounds_of(key, filled)
    query = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(1))
    bound = query.clamp(min=0) @ greatest.mT + query.clamp(max=0) @ least.mT
    products = (query @ key.mT).masked_fill(~filled[:, None, None], -torch.inf)
    assert (products <= bound.repeat_interleave(BLOCK, dim=-1)[..., :70] + 1e-5).all()
    assert (least[1, :, 3:] == 0).all()


def test_each_query_reads_the_block_of_the_key_it_asks_for() -> None:
    key, filled = store()
    for place in (0, 17, 39):
        asked = key.clone()
        asked[:, :, place] *= 20
        query = asked[:, :, place, None].repeat_interleave(2, dim=1)  # two queries a key-value head
        places, seen = retrieve(query, *bounds_of(asked, filled), filled, keys=1)
        assert places.shape == seen.shape == (2, 3, 1, BLOCK)
        assert ((places == place) & seen).any(-1).all()


def test_asked_for_all_it_reads_all_and_nothing_empty() -> None:
    key, filled = store()
    query = torch.randn(2, 6, 4, 8, generator=torch.Generator().manual_seed(1))
    places, seen = retrieve(query, *bounds_of(key, filled), filled, keys=70)
    for row, count in ((0, 70), (1, 40)):
        for one, mask in zip(places[row].flatten(0, 1), seen[row].flatten(0, 1), strict=True):
            assert sorted(one[mask].tolist()) == list(range(count))
