"""Profiles by name: the paper's, a uniform one, those shipped as package data, or a JSON file."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from kmem.encoder.defaults import AUTO
from kmem.errors import ConfigError, UnknownNameError
from kmem.profile import SPAN_TOKENS, Profile

UNIFORM_TOKENS = 8
"""Tokens a head keeps in the uniform profiles (Memory³ §3.3)."""


def memory3_profile(layers: int, heads: int) -> Profile:
    """Memory³'s own: 8 tokens on every key-value head of the first half of the layers."""
    half = layers // 2
    budget = ((UNIFORM_TOKENS,) * heads,) * half + ((0,) * heads,) * (layers - half)
    return Profile(name="memory3", budget=budget, provenance={"source": "Memory³ (arXiv 2407.01178) §3.3"})


def uniform8_profile(layers: int, heads: int) -> Profile:
    """8 tokens on every key-value head of every layer."""
    return Profile(name="uniform8", budget=((UNIFORM_TOKENS,) * heads,) * layers)


def dense_profile(layers: int, heads: int, like: Profile) -> Profile:
    """Every token on every key-value head, in the bracket and alignment of `like`: what a memory can be at most."""
    return replace(like, name="dense", budget=((SPAN_TOKENS,) * heads,) * layers, provenance={})


def shipped_profiles() -> list[str]:
    """Names of the profiles that are package data, each made for one model."""
    return sorted(entry.name.removesuffix(".json") for entry in files("kmem.profiles").iterdir() if entry.name.endswith(".json"))


def auto_profile(layers: int, heads: int) -> Profile:
    """The shipped profile with most slots for a model of that shape, else `uniform8`."""
    return next(_fitting(layers, heads), uniform8_profile(layers, heads))


def fitting_profiles(layers: int, heads: int) -> list[str]:
    """Names of the shipped profiles for a model of that shape, most slots first, or `auto` where there is none."""
    return [profile.name for profile in _fitting(layers, heads)] or [AUTO]


def _fitting(layers: int, heads: int) -> Iterator[Profile]:
    made = (_shipped(name) for name in shipped_profiles())
    fitting = [profile for profile in made if (profile.layers, profile.heads) == (layers, heads)]
    return iter(sorted(fitting, key=lambda profile: profile.slots, reverse=True))


def _shipped(name: str) -> Profile:
    return Profile.from_dict(json.loads((files("kmem.profiles") / f"{name}.json").read_text()))


GENERAL = {AUTO: auto_profile, "memory3": memory3_profile, "uniform8": uniform8_profile}


def load_profile(name: str, *, layers: int, heads: int, selector: str | None = None) -> Profile:
    """The profile of that name or file, for a model of L layers and H key-value heads.

    Raises UnknownNameError for an unknown name, ConfigError for a file that holds no profile and for a profile of another shape.
    """
    if name in GENERAL:
        profile = GENERAL[name](layers, heads)
    elif name in shipped_profiles():
        profile = _shipped(name)
    elif name.endswith(".json") or Path(name).exists():
        try:
            profile = Profile.from_dict(json.loads(Path(name).read_text()))
        except OSError as error:
            raise ConfigError(f"The profile file {name} can't be read ({error.strerror}): check the path.") from error
        except ValueError as error:
            raise ConfigError(f"{name} holds no profile: {str(error).rstrip('.')}.") from error
    else:
        raise UnknownNameError("profile", name, [*GENERAL, *shipped_profiles(), "any profile's JSON file"])
    require_shape(profile, layers, heads)
    return profile if selector is None else replace(profile, selector=selector)


def require_shape(profile: Profile, layers: int, heads: int) -> None:
    """Raise ConfigError unless the profile is made for a model of that shape."""
    if (profile.layers, profile.heads) != (layers, heads):
        raise ConfigError(
            f"Profile {profile.name!r} is made for {profile.layers} layers × {profile.heads} key-value heads, "
            f"but the model has {layers} × {heads}; choose another (memory3 and uniform8 fit any)."
        )
