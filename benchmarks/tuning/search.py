"""Which settings the next trials try, and which trials are given up: optuna's TPE and its pruner.

What is proposed follows from the search's seed and the trials of earlier rounds alone, so a search
that was stopped goes on with the trials of one that was not, whatever ran at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from i2moe_plugin.benchmarks.tuning.space import Range, Space
from i2moe_plugin.benchmarks.tuning.trials import Outcome, State
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.seeding import derive_seed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

#: Trials that are proposed together, and may run at a time.
ROUND = 5
#: Trials drawn at random before TPE looks at what they reached.
RANDOM = 10
#: A trial is given up where a curve lies below the median of others at that step: not before so
#: many others are finished, nor in the first part of its epochs.
OTHERS, WARM_UP = 5, 0.25
_STATES: dict[State, str] = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def import_optuna() -> Any:
    """Import optuna, which then only speaks of what is wrong.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tune needs optuna: pip install 'i2moe-plugin[tune]'.") from error
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def direction(higher: bool) -> str:
    """Return how optuna calls that a higher value is better, or a lower one."""
    return "maximize" if higher else "minimize"


def frozen(
    params: Mapping[str, Any], space: Space, outcome: Outcome, facts: Mapping[str, Any]
) -> FrozenTrial:
    """Return a trial that is over, as optuna keeps it.

    Args:
        params: what it tried.
        space: what that was chosen from.
        outcome: what became of it.
        facts: what else is kept of it.
    """
    optuna = import_optuna()
    return cast(
        "FrozenTrial",
        optuna.trial.create_trial(
            state=optuna.trial.TrialState[_STATES[outcome.state]],
            value=outcome.value if outcome.state == "finished" else None,
            params=dict(params),
            distributions=_distributions(space),
            intermediate_values=dict(outcome.curve),
            user_attrs={"loss": outcome.loss, "reason": outcome.reason, **facts},
        ),
    )


def propose(
    space: Space, earlier: Sequence[FrozenTrial], higher: bool, seed: int, first: int
) -> list[dict[str, Any]]:
    """Return the settings of a round's trials.

    Args:
        space: what they choose from.
        earlier: the trials of earlier rounds, in order.
        higher: a higher value is better.
        seed: the search's.
        first: the number of the round's first trial.
    """
    optuna = import_optuna()
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM, seed=derive_seed(seed, "tune", first) % 2**32
    )
    study = _study(earlier, higher, sampler=sampler)
    distributions = _distributions(space)
    return [dict(study.ask(distributions).params) for _ in range(ROUND)]


@dataclass(frozen=True)
class Median:
    """Gives a trial up whose curve lies below the median of earlier trials at its last step.

    Attributes:
        earlier: the trials of earlier rounds.
        higher: a higher value is better.
        epochs: the most that are trained of a seed.
    """

    earlier: tuple[FrozenTrial, ...]
    higher: bool
    epochs: int

    def __call__(self, curve: Mapping[int, float]) -> bool:
        """Whether to give it up."""
        trial = import_optuna().trial
        running = trial.create_trial(
            state=trial.TrialState.RUNNING, intermediate_values=dict(curve)
        )
        return bool(self._study.pruner.prune(self._study, running))

    @cached_property
    def _study(self) -> Study:
        pruner = import_optuna().pruners.MedianPruner(OTHERS, int(WARM_UP * self.epochs))
        return _study(self.earlier, self.higher, pruner=pruner)


def _study(earlier: Sequence[FrozenTrial], higher: bool, **parts: Any) -> Study:
    study = import_optuna().create_study(direction=direction(higher), **parts)
    study.add_trials(earlier)
    return cast("Study", study)


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    optuna = import_optuna()

    def distribution(entry: Range | tuple[Any, ...]) -> BaseDistribution:
        kinds = optuna.distributions
        if not isinstance(entry, Range):
            found = kinds.CategoricalDistribution(entry)
        elif entry.whole:
            found = kinds.IntDistribution(entry.low, entry.high, entry.log, entry.step or 1)
        else:
            found = kinds.FloatDistribution(entry.low, entry.high, entry.log, entry.step)
        return cast("BaseDistribution", found)

    return {key: distribution(entry) for key, entry in space.items()}
