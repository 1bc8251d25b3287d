"""Which near-duplicates go: one pass over the texts in order, each against those kept before it."""

from kmem.jit import compiled

MOST_COMPARED = 1024
"""Kept texts of one band that a text is compared with, the nearest before it first: bounds what a phrase in every text can cost."""


@compiled
def _alike(one, two, minhash, title, numbers, others, least, least_retitled):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """Whether signatures agree in enough values, unless the texts have the same words but for their numbers: two facts of one form."""
    if others[one] == others[two] and numbers[one] != numbers[two]:
        return False
    agreeing = 0
    for index in range(minhash.shape[1]):
        agreeing += minhash[one, index] == minhash[two, index]
    return agreeing >= (least if title[one] == title[two] else least_retitled)


@compiled
def resolve(before, texts, minhash, title, numbers, others, least, least_retitled, kept, start, end):  # type: ignore[no-untyped-def]
    """Fill `kept` [n] from `start` to `end`, when it is filled before: for a near-duplicate the place of the kept text it is like, −1 for
    those that are kept.

    before [bands, n] int32: for each band, the place before with the same band, or −1 (bands.earlier); altered. texts [n]: the rows of
    minhash [N, permutations], title, numbers and others [N] that are compared. least, least_retitled: values that must agree, under one
    title and under two.

    A text is dropped only for one that is kept and that it is like itself: in a chain A ~ B ~ C, where A and C differ, B goes and C stays.
    """
    bands = before.shape[0]
    for place in range(start, end):
        kept[place] = -1
        # A dropped text's own entry leads to a kept one already, so one step passes over any number of copies.
        for band in range(bands):
            other = before[band, place]
            if other >= 0 and kept[other] >= 0:
                before[band, place] = before[band, other]
        for band in range(bands):
            other = before[band, place]
            compared = 0
            while other >= 0 and compared < MOST_COMPARED:
                if _alike(texts[place], texts[other], minhash, title, numbers, others, least, least_retitled):
                    kept[place] = other
                    break
                other = before[band, other]
                compared += 1
            if kept[place] >= 0:
                break
