"""A run that was stopped goes on from its last saved state."""

from __future__ import annotations

import logging
from pathlib import Path

from i2moe_plugin.benchmarks.run.checkpoints import load_state
from i2moe_plugin.benchmarks.run.store import STATES
from i2moe_plugin.errors import RunError, TrainingError
from i2moe_plugin.training import Trainer

log = logging.getLogger(__name__)


def go_on(trainer: Trainer, folder: Path, identity: str) -> None:
    """Go on from a stopped run's last state, or the one before; without any, it starts over.

    Of several ranks the first one looks, and the others take what it took.
    """
    if not trainer.fabric.is_global_zero:
        taken = trainer.fabric.broadcast("")
        if taken:
            trainer.load_state_dict(load_state(folder / taken, identity))
        return
    problems, taken = [], ""
    for name in STATES:
        if (folder / name).exists():
            try:
                trainer.load_state_dict(load_state(folder / name, identity))
            except (RunError, TrainingError) as error:
                problems.append(str(error))
                (folder / name).unlink()
            else:
                taken = name
                break
    trainer.fabric.broadcast(taken)
    done = len(trainer.history)
    for problem in problems:
        log.warning(
            "a saved state cannot be used (%s); the run %s.",
            problem.removesuffix("."),
            f"goes on after epoch {done}, from the state before" if done else "starts over",
        )
