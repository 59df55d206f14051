"""What two ranks compute together, and one process alone: steps of many models.

A module that the ranks' processes can import by this name.
"""

from itertools import pairwise
from typing import get_args

import torch
from torch import nn

from i2moe_plugin import Classification, LatentSpec, Multilabel, Regression
from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.benchmarks.run.environment import create_fabric
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.execution.rule import Plan
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.interactions.losses import OBJECTIVES
from i2moe_plugin.methods import METHODS, create_model, find_method
from i2moe_plugin.tasks import SignClassification
from i2moe_plugin.training import Trainer

SIZE, OUTPUTS, MODALITIES = 7, 3, 3
#: Rows of the two ranks, which differ in number.
BOUNDS = (0, 3, 7)
NAMES = [name for name in METHODS if name != "single-expert:NAME"] + ["single-expert:synergy"]
LACKING = {0: [0, 1, 2, 3, 5], 2: [3, 4, 5, 6]}  # modality -> the rows that have it


def model_of(method="i2moe", task=None, backbone="concat", **settings):
    """A small model without dropout, whose experts differ."""
    task = task or Classification(OUTPUTS)
    settings = {
        "reweighting_hidden": 8,
        "reweighting_dropout": 0.0,
        "expert_init": "independent",
        "masking": "zero",
    } | settings
    torch.manual_seed(0)
    tokens = getattr(find_method(method).build, "tokens", False)
    if tokens:
        latents = [LatentSpec(8, 2 + m) for m in range(MODALITIES)]
        encoders = [
            nn.Sequential(nn.Linear(5, 8 * (2 + m)), nn.Unflatten(1, (2 + m, 8)))
            for m in range(MODALITIES)
        ]
        backbone, options = "token-transformer", {"num_heads": 2, "dropout": 0.0}
    else:
        latents = [LatentSpec(4 + m) for m in range(MODALITIES)]
        encoders = [nn.Linear(5, spec.dim) for spec in latents]
        options = {"head_hidden": 7, "head_dropout": 0.0}

    def factory(num_outputs=task.num_outputs):
        return create_backbone(backbone, latents, num_outputs, **options)

    return create_model(method, encoders, latents, factory, task, **settings)


def batches(kind="classes", lacking=False):
    """Two batches of one order: the second meets what the first has changed."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(2):
        inputs = [3 * torch.randn(SIZE, 5, generator=generator) for _ in range(MODALITIES)]
        if lacking:
            for place, rows in LACKING.items():
                inputs[place] = Incomplete(inputs[place][rows], torch.tensor(rows), SIZE)
        target = torch.randn(SIZE, OUTPUTS, generator=generator)
        if kind == "classes":
            target = target.argmax(1)
        elif kind == "labels":
            target = (target > 0).float()
        elif kind == "score":
            target = target[:, 0]
        made.append((*inputs, target))
    return made


def share(batch, rank):
    """The rows of a rank."""
    start, end = list(pairwise(BOUNDS))[rank]

    def rows_of(x):
        if not isinstance(x, Incomplete):
            return x[start:end]
        there = (x.rows >= start) & (x.rows < end)
        rows = x.rows[there] - start
        if len(rows) == end - start:
            return x.x[there]
        return Incomplete(x.x[there] if len(rows) else None, rows, end - start)

    return tuple(map(rows_of, batch))


def cases():
    """name -> a model and its batches."""
    made = {f"method {name}": (lambda name=name: (model_of(name), batches())) for name in NAMES}
    for objective in OBJECTIVES:
        for masking in ("zero", "mean"):
            made[f"{objective} {masking}"] = lambda o=objective, m=masking: (
                model_of(interaction_loss=o, masking=m),
                batches(),
            )
            made[f"{objective} {masking}, samples that lack modalities"] = (
                lambda o=objective, m=masking: (
                    model_of(interaction_loss=o, masking=m),
                    batches(lacking=True),
                )
            )
    made["a mean that stands for what lacks, and no masked views"] = lambda: (
        model_of("ensemble", masking="mean"),
        batches(lacking=True),
    )
    tasks = {
        "classes": Classification(OUTPUTS, class_weights=(0.2, 1.0, 3.0)),
        "labels": Multilabel(OUTPUTS),
        "numbers": Regression(OUTPUTS),
        "score": SignClassification(),
    }
    for kind, task in tasks.items():
        made[f"task {kind}"] = lambda k=kind, t=task: (model_of(task=t), batches(k))
    for plan in get_args(Plan):
        made[f"plan {plan}"] = lambda p=plan: (model_of(plan=p, backbone="lrtf"), batches())
    return made


def noisy():
    """A model with masking noise, and what it draws."""
    model = model_of(masking="random")
    drawn = []
    model.masking.register_forward_hook(lambda *given: drawn.append(given[-1][0]))
    return model, drawn


def step(model, given, fabric=None):
    """What an epoch of these batches leaves: losses, the last gradient, and the state."""
    trainer = Trainer(model, metric="loss", fabric=fabric, lr=1e-3)
    model.set_epoch(1)
    with torch.random.fork_rng():
        torch.manual_seed(5 + trainer.fabric.global_rank)  # as in a run, each draws its own
        losses = trainer._train_epoch(given, 1)["train"]
    gradients = {
        name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
    }
    return losses, gradients, dict(model.state_dict())


def together(send):
    """All cases, on a rank."""
    fabric = create_fabric(
        RunSettings(dataset="htad", fusion="concat", devices=2, device="cpu", threads=1)
    )
    rank = fabric.global_rank
    torch.set_num_threads(1)
    for name, make in cases().items():
        model, given = make()
        send((rank, name, portable(step(model, [share(one, rank) for one in given], fabric))))
    model, drawn = noisy()
    trainer = Trainer(model, metric="loss", fabric=fabric)
    given = batches()[:1]
    trainer.fit([share(given[0], rank)], given, 1)
    send((rank, "noise", portable((drawn, trainer.history, trainer.best_epoch))))


def portable(found):
    """Tensors as arrays: tensors would be sent through shared memory."""
    if isinstance(found, torch.Tensor):
        return found.numpy()
    if isinstance(found, dict):
        return {key: portable(value) for key, value in found.items()}
    return [portable(each) for each in found] if isinstance(found, (list, tuple)) else found


def failing(send):
    """A typed error in one rank, for which the other one waits."""
    from torch import distributed

    if distributed.get_rank() == 1:
        raise DatasetError("audio.npy is damaged.")
    distributed.barrier()
