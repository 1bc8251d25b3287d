"""A quantiser for a bank: as it is, or trained on a sample of the bank's own memories."""

import numpy as np

from kmem.errors import UntrainedQuantiserError
from kmem.kstore.bank import Bank
from kmem.kstore.quant import Quantiser, quantiser
from kmem.progress import Progress, silent


def quantiser_for(name: str, bank: Bank, *, seed: int = 0, progress: Progress = silent) -> Quantiser:
    """The quantiser of this name; `vq` learns from memories drawn over the whole bank, as many as its codebooks can use.

    Raises UnknownNameError, and ConfigError for a bank too small or of a shape that the quantiser can't learn.
    """
    try:
        return quantiser(name)
    except UntrainedQuantiserError:
        from kmem.kstore.quant.vq_train import GROUPS, SAMPLES, train_vq

    ids = bank.ids
    wanted = -(-2 * GROUPS * SAMPLES // bank.profile.slots)  # twice: groups are not equal, and short chunks leave slots empty
    drawn = np.sort(np.random.default_rng(seed).permutation(len(ids))[:wanted])
    return train_vq(bank.read(ids[drawn].tolist()), seed=seed, progress=progress)
