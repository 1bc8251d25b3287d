"""Policies: which tokens of its KV cache a model keeps.

A new policy is one file here, one line in POLICIES, its rule in tests/runtime/test_policies.py and one row in the README's table.
"""

from collections.abc import Callable
from pathlib import Path

from kmem.errors import UnknownNameError, WrongTypeError
from kmem.models.namm.checkpoint import load_namm
from kmem.models.namm.scorer import Namm
from kmem.runtime.policies.full import Full
from kmem.runtime.policies.h2o import H2O
from kmem.runtime.policies.l2 import L2
from kmem.runtime.policies.namm import NammPolicy, default_namm
from kmem.runtime.policies.protocol import NOTHING, Policy, Tokens, Watch
from kmem.runtime.policies.recency import Recency

__all__ = ["H2O", "L2", "NOTHING", "POLICIES", "Full", "NammPolicy", "Policy", "Recency", "Tokens", "Watch", "policy_of"]

POLICIES: dict[str, Callable[[], Policy]] = {
    "full": Full,
    "h2o": H2O,
    "l2": L2,
    "namm": default_namm,
    "recency": Recency,
}


def policy_of(policy: object) -> Policy:
    """A policy by name, by the path of a NAMM's file, from a NAMM, or as it is.

    Raises UnknownNameError for a name that is neither, WrongTypeError for another object, and what `load_namm` does.
    """
    if isinstance(policy, Namm):
        return NammPolicy(policy)
    if isinstance(policy, str | Path):
        if str(policy) in POLICIES:
            return POLICIES[str(policy)]()
        if not Path(policy).is_file():
            raise UnknownNameError("policy", str(policy), [*POLICIES, "or a file that save_namm wrote"])
        return NammPolicy(load_namm(policy))
    if not isinstance(policy, Policy):
        raise WrongTypeError(f"A policy is a name, a NAMM or an object with a policy's members, not {type(policy).__name__}.")
    return policy
