"""Injection into MultiBench's loop: the stand-in's, or a real one's with MULTIBENCH_ROOT."""

import copy
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from i2moe_plugin import (
    Classification,
    I2MoE,
    LatentSpec,
    Multilabel,
    Regression,
    Trainer,
    inject,
)
from i2moe_plugin.adapters.checkout import open_checkout
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError
from i2moe_plugin.injection import MultiBenchBatches

STANDIN = Path(__file__).parents[1] / "multibench_standin"
ROOT = os.environ.get("MULTIBENCH_ROOT") or str(STANDIN)
WIDTHS = [5, 3]
STILL = {"masking": "zero", "reweighting_dropout": 0.0}  # nothing random in a step


@pytest.fixture(scope="module")
def theirs():
    """Modules of the checkout, by their names."""
    return open_checkout(ROOT).module


@pytest.fixture
def loop(theirs, tmp_path):
    """``loop(injection, train, valid, **options)``: their train; gives what it saved."""
    train = theirs("training_structures.Supervised_Learning").train

    def run(injection, batches, valid=None, epochs=2, **options):
        save = tmp_path / "best.pt"
        options = {"lr": 1e-2, "optimtype": torch.optim.AdamW, **options}
        train(
            **injection.arguments,
            train_dataloader=batches,
            valid_dataloader=valid or batches,
            total_epochs=epochs,
            save=save,
            track_complexity=False,
            **options,
        )
        return torch.load(save, weights_only=False)

    return run


def drawn(task, samples=48, batch=16, column=False):
    """Batches (x_1, x_2, y) of a problem that can be learned."""
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(samples, width, generator=generator) for width in WIDTHS]
    score = torch.stack([m[:, :3].sum(1) * m[:, 0] for m in x], 1)
    if task.name == "classification":
        y = (score.sum(1) > 0).long()
    elif task.name == "multilabel":
        y = (score > 0).float()
    else:
        y = score.sum(1)
    return DataLoader(TensorDataset(*x, y.unsqueeze(1) if column else y), batch_size=batch)


def encoders(theirs):
    mlp = theirs("unimodals.common_models").MLP
    return [mlp(width, 8, 4) for width in WIDTHS]


def injected(theirs, task, **settings):
    fusion = theirs("fusions.common_fusions").Concat()
    head = theirs("unimodals.common_models").MLP(8, 8, task.num_outputs)
    return inject(
        encoders(theirs), fusion, head, task=task, latents=[LatentSpec(4)] * 2, **settings
    )


@pytest.mark.parametrize(
    ("task", "column"),
    [
        (Classification(2), False),
        (Classification(2), True),
        (Multilabel(2), False),
        (Regression(1), False),
        (Regression(1), True),
    ],
)
def test_their_loop_trains_the_native_model(theirs, loop, task, column):
    batches = drawn(task, column=column)
    injection = injected(theirs, task)
    before = copy.deepcopy(injection.model)
    saved = loop(injection, batches, epochs=3)
    assert isinstance(saved.fuse.model, I2MoE)
    for (name, old), new in zip(
        before.named_parameters(), saved.fuse.model.parameters(), strict=True
    ):
        assert not torch.equal(old, new), name
    result = Trainer(saved.fuse.model, metric=task.metric_names[0]).predict(batches)
    assert np.isfinite(result.prediction).all()
    assert result.weights.shape == (48, 4)


def test_their_loop_and_ours_take_the_same_steps(theirs, loop):
    """The very numbers: losses, views, clipping and the rest are one implementation."""
    batches, task = drawn(Classification(2)), Classification(2)
    injection = injected(theirs, task, **STILL)
    native = copy.deepcopy(injection.model)
    trainer = Trainer(native, metric="accuracy", lr=1e-2, weight_decay=0.01, clip_grad_norm=8.0)
    trainer.fit(batches, batches, 3)
    loop(injection, batches, epochs=3, weight_decay=0.01)
    last = trainer.state_dict()["model"]
    for name, tensor in injection.model.state_dict().items():
        assert_close(tensor, last[name], msg=name)


def test_views_and_losses_only_in_training(theirs, loop, monkeypatch):
    views: list[tuple[bool, int]] = []
    losses: list[tuple[bool, torch.Tensor]] = []
    task = Classification(2)
    injection = injected(theirs, task, interaction_weight=100.0)
    injection.model.bank.register_forward_hook(
        lambda bank, _, result: views.append((bank.training, result[0].shape[1]))
    )
    call = type(injection.objective).__call__

    def spy(self, prediction, truth, arguments):
        loss = call(self, prediction, truth, arguments)
        losses.append((arguments["training"], loss - task.loss(prediction, truth)))
        return loss

    monkeypatch.setattr(type(injection.objective), "__call__", spy)
    with pytest.raises(AttributeError, match="<lambda>"):  # the hook cannot be saved
        loop(injection, drawn(task), epochs=1)
    assert set(views) == {(True, 3), (False, 1)}
    assert {training for training, _ in losses} == {True, False}
    assert all(bool(extra > 10) == training for training, extra in losses)
    assert all(extra == 0 for training, extra in losses if not training)


class Remembers(nn.Module):
    """A head that keeps what it computed."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 2)
        self.kept = None

    def forward(self, x):
        self.last = self.linear(x)
        self.kept = [self.last, {"too": (self.last,)}]
        return self.last


@pytest.mark.parametrize("remember", [False, True])
def test_copies_and_files_hold_no_graph_and_no_batch(theirs, loop, remember):
    task, batches = Classification(2), drawn(Classification(2))
    concat = theirs("fusions.common_fusions").Concat()
    head = Remembers() if remember else nn.Linear(8, 2)
    injection = inject(encoders(theirs), concat, head, task=task, latents=[LatentSpec(4)] * 2)
    saved = loop(injection, batches)
    assert saved.fuseout.value is None
    assert [rep.value for rep in saved.reps] == [None, None]
    *x, y = next(iter(batches))
    saved.train()
    torch.manual_seed(0)
    first = saved(x)
    twin = copy.deepcopy(saved)  # with a graph alive
    arguments = {"fused": saved.fuseout, "training": True}
    injection.objective(first, y, arguments).backward()
    saved.eval()
    twin.eval()
    assert torch.equal(twin(x), saved(x))
    assert all(new is not old for new, old in zip(twin.parameters(), saved.parameters()))  # noqa: B905


def test_their_test_takes_what_they_saved(theirs, loop):
    task, batches = Classification(2), drawn(Classification(2))
    saved = loop(injected(theirs, task), batches, epochs=20)
    single_test = theirs("training_structures.Supervised_Learning").single_test
    accuracy = single_test(saved, batches)["Accuracy"]
    result = Trainer(saved.fuse.model, metric="accuracy").predict(batches)
    assert accuracy == task.metric("accuracy", result.prediction, result.target)
    assert accuracy > 0.7


def packed(samples=24, batch=8):
    """MultiBench's packed batches: [inputs], [lengths], indices, labels [B, 1]."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for start in range(0, samples, batch):
        lengths = [torch.randint(2, 6, (batch,), generator=generator) for _ in WIDTHS]
        x = [
            pad_sequence([torch.randn(int(n), w, generator=generator) for n in some], True)
            for some, w in zip(lengths, WIDTHS, strict=True)
        ]
        y = torch.tensor([[float(m[i, 0, 0] > 0)] for m in x[:1] for i in range(batch)])
        made.append((x, lengths, torch.arange(start, start + batch), y))
    return made


class TokenEncoder(nn.Module):
    """Takes ``[x, lengths]``; a latent for each step, beside the lengths."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 4)

    def forward(self, x):
        return [self.linear(x[0]), x[1]]


@pytest.mark.parametrize("kind", ["vector", "tokens"])
def test_packed_batches(theirs, loop, kind):
    batches = packed()
    if kind == "vector":
        gru = theirs("unimodals.common_models").GRU
        ours = [gru(width, 4, has_padding=True) for width in WIDTHS]
        fusion, head = theirs("fusions.common_fusions").Concat(), nn.Linear(8, 2)
    else:
        ours = [TokenEncoder(width) for width in WIDTHS]
        fusion, head = "transformer", None
    injection = inject(ours, fusion, head, task=Classification(2), batch=batches[0], is_packed=True)
    assert all(spec.padded == (kind == "tokens") for spec in injection.model.latents)
    saved = loop(injection, batches, epochs=4)
    # The native loop takes the same batches, and says the same as theirs.
    native = MultiBenchBatches(batches, is_packed=True)
    result = Trainer(saved.fuse.model, metric="accuracy").predict(native)
    x, lengths, *_ = batches[0]
    with torch.no_grad():
        assert_close(saved([x, lengths]).numpy(), result.prediction[:8])
    Trainer(injection.model, metric="accuracy").fit(native, native, 1)


@pytest.mark.parametrize("name", ["lrtf", "interpretcc"])
def test_a_named_backbone(theirs, loop, name):
    batches, task = drawn(Classification(2)), Classification(2)
    injection = inject(
        encoders(theirs), name, task=task, batch=next(iter(batches)), expert_init="independent"
    )
    loop(injection, batches, epochs=1)
    assert injection.model.bank.experts[0].entry.name == name


def test_a_fusion_without_head_gets_one(theirs):
    injection = inject(
        encoders(theirs),
        theirs("fusions.common_fusions").Concat(),
        task=Classification(3),
        latents=[LatentSpec(4)] * 2,
    )
    output = injection.model([torch.randn(2, width) for width in WIDTHS])
    assert output.prediction.shape == (2, 3)


class FirstOne(nn.Identity):
    def forward(self, latents):
        return latents[0]


def test_wrong_arguments(theirs):
    concat, task, two = FirstOne(), Classification(2), [LatentSpec(4)] * 2
    with pytest.raises(ConfigError, match=r"2 problems[^$]*one of batch[^$]*brings its own head"):
        inject(encoders(theirs), "lrtf", nn.Identity(), task=task)
    with pytest.raises(ConfigError, match=r"2 problems[^$]*named backbone[^$]*copies"):
        inject(
            encoders(theirs),
            concat,
            task=task,
            latents=two,
            fusion_settings={"a": 1},
            expert_init="independent",
        )
    with pytest.raises(ShapeError, match="3 modalities, for 2 encoders"):
        inject(encoders(theirs), concat, task=task, batch=[torch.zeros(2, 5)] * 4)
    with pytest.raises(ConfigError, match="at least 2 modalities"):
        inject([nn.Identity()], "concat", task=task, latents=two[:1])
    with pytest.raises(BackboneError, match=r"'FirstOne \+ Linear'.* returned \[2, 9\]"):
        inject(encoders(theirs), concat, nn.Linear(4, 9), task=task, latents=two)
    with pytest.raises(ConfigError, match="objective_args_dict"):
        injected(theirs, task).objective(torch.zeros(2, 2), torch.zeros(2), None)


def test_their_batches_in_the_native_loop(theirs):
    batches = [[torch.randn(4, 5).double(), torch.ones(4, 3).byte(), torch.ones(4, 1)]]
    model = injected(theirs, Classification(2)).model
    ours = MultiBenchBatches(batches)
    for _ in range(2):  # as often as one likes
        assert [x.dtype for x in next(iter(ours))] == [torch.float32] * 3
    trainer = Trainer(model, metric="accuracy")
    trainer.fit(ours, ours, 1)
    assert trainer.predict(ours).prediction.shape == (4, 2)


def test_the_documentation_runs(tmp_path, monkeypatch):
    """Every block of docs/multibench.md, in order."""
    text = (Path(__file__).parents[2] / "docs" / "multibench.md").read_text()
    if Path(ROOT) == STANDIN:
        shutil.copytree(STANDIN, tmp_path / "MultiBench")
    else:
        (tmp_path / "MultiBench").symlink_to(ROOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTIBENCH_ROOT", "")
    space: dict[str, object] = {}
    blocks = re.findall(r"^```(python|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "docs/multibench.md", "exec"), space)
            continue
        for line in block.splitlines():
            command = shlex.split(line.removeprefix("$ i2moe-bench "))
            done = CliRunner().invoke(main, [*command, "--device", "cpu"])
            assert done.exit_code == 0, done.output
