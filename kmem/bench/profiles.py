"""Which profiles a benchmark measures, and by which key each is known in its result."""

from dataclasses import replace

from transformers import PreTrainedModel

from kmem.bench.config import QualityConfig
from kmem.encoder.anatomy import examine
from kmem.encoder.profiles import dense_profile, fitting_profiles, load_profile, uniform8_profile
from kmem.encoder.select import SELECTORS, selector
from kmem.profile import Profile


def chosen_profiles(model: PreTrainedModel, config: QualityConfig) -> dict[str, Profile]:
    """The profiles asked for, by `profile_SLOTS`, or `profile_SLOTS_NAME` and so on where several have one size.

    Raises what `load_profile` raises, a shape other than the model's included.
    """
    anatomy = examine(model)
    layers, heads = anatomy.layers, anatomy.heads
    found: dict[str, Profile] = {}
    for name in fitting_profiles(layers, heads) if config.profiles is None else config.profiles:
        profile = load_profile(name, layers=layers, heads=heads)
        keys = [f"profile_{profile.slots}", f"profile_{profile.slots}_{profile.name}"]
        keys += [f"{keys[1]}_{number}" for number in range(2, len(found) + 2)]
        found[next(key for key in keys if key not in found)] = profile
    return found


def measured_profiles(chosen: dict[str, Profile], config: QualityConfig) -> dict[str, Profile]:
    """Every profile that is measured: beside the chosen ones what is most (dense) and what is least, all in the bracket of the first.

    A selector is measured in two budgets, those of uniform8 and of the first; those that are asked for by name are all that is.
    """
    first = next(iter(chosen.values()))
    layers, heads = first.layers, first.heads
    uniform = replace(uniform8_profile(layers, heads), prefix=first.prefix, suffix=first.suffix, align=first.align)
    found: dict[str, Profile] = {}
    if not config.selectors:
        found |= {"dense": dense_profile(layers, heads, like=first), **chosen}
        found |= {"uniform8": uniform, "random8": replace(uniform, selector="random")}
    for name in chosen_selectors(config):
        found[f"uniform8_{name}"] = replace(uniform, selector=name)
        found[f"budget_{first.slots}_{name}"] = replace(first, selector=name)
    return found


def chosen_selectors(config: QualityConfig) -> tuple[str, ...]:
    """Those asked for, each once. Raises UnknownNameError."""
    for name in config.selectors:
        selector(name)
    return tuple(SELECTORS) if config.full else tuple(dict.fromkeys(config.selectors))
