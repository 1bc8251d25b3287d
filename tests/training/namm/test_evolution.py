"""The strategy finds what is fit, goes on from its fitness alone, and a fitness counts score and size."""

import numpy as np
import pytest

from kmem.errors import ConfigError, UnknownNameError
from kmem.training.namm.evolution import Evolution, Vectors
from kmem.training.namm.fitness import Outcome, fitness, kept_share, normalised
from kmem.training.namm.recipe import EvolutionConfig, Recipe, RegressionConfig, SizeConfig, TasksConfig, checked, recipe_of


def fit(members: Vectors) -> list[float]:
    found: list[float] = (-((members - np.arange(6)) ** 2).sum(axis=1)).tolist()
    return found


@pytest.mark.parametrize("algorithm", ["separable", "full"])
def test_it_climbs_and_goes_on_exactly(algorithm: str) -> None:
    config = EvolutionConfig(algorithm=algorithm, population=8, sigma=0.5)
    whole, history = Evolution(np.zeros(6), config, seed=3), []
    for _ in range(60):
        history.append(fit(whole.ask()))
        whole.tell(history[-1])
    assert fit(whole.mean[None])[0] > -0.01
    again = Evolution(np.zeros(6), config, seed=3)
    again.replay(history[:30])
    for fitness_of in history[30:]:
        assert fit(again.ask()) == fitness_of
        again.tell(fitness_of)
    assert again.mean.tolist() == whole.mean.tolist()
    assert again.sigma == whole.sigma
    other = Evolution(np.zeros(6), config, seed=4)
    assert other.ask().tolist() != Evolution(np.zeros(6), config, seed=3).ask().tolist()


def test_fitness() -> None:
    outcomes = [
        Outcome(task="a", score=np.array([0.2, 0.4]), share=np.array([0.3, 0.6]), full=0.4),
        Outcome(task="a", score=np.array([0.2, 0.0]), share=np.array([0.3, 0.6]), full=0.4),
        Outcome(task="b", score=np.array([0.1, 0.3]), share=np.array([0.3, 0.6]), full=0.2),
    ]
    assert normalised(outcomes).tolist() == pytest.approx([(0.5 + 0.5) / 2, (0.5 + 1.5) / 2])
    assert kept_share(outcomes).tolist() == pytest.approx([0.3, 0.6])
    assert fitness(outcomes, SizeConfig(share=0.4, weight=0.5)).tolist() == pytest.approx([0.5, 1.0 - 0.5 * 0.5])
    assert fitness(outcomes, SizeConfig(share=0.4, weight=0.0)).tolist() == pytest.approx([0.5, 1.0])


def test_recipes() -> None:
    shipped = checked(recipe_of("smollm2"))
    assert checked(shipped.to_dict()) == shipped
    assert min(shipped.tasks.tokens) > shipped.namm.delay
    with pytest.raises(ConfigError, match="tokens 500 must be above the delay of 512"):
        Recipe(tasks=TasksConfig(tokens=(500,)))
    with pytest.raises(ConfigError, match=r"evolution\.prompts 6 must be at most the 2 recorded"):
        Recipe(tasks=TasksConfig(prompts=2))
    with pytest.raises(UnknownNameError, match="Unknown algorithm 'cma'; there are full, separable"):
        EvolutionConfig(algorithm="cma")
    with pytest.raises(UnknownNameError, match="Unknown target 'atention'; there are attention, effect"):
        RegressionConfig(target="atention")
    with pytest.raises(ConfigError, match=r"did you mean size\.share"):
        checked({"size": {"shar": 0.3}})
    for wrong in ({"share": 0.0}, {"weight": -1.0}):
        with pytest.raises(ConfigError, match="share must lie above 0"):
            SizeConfig(**wrong)
