import copy
import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from sklearn.metrics import accuracy_score, mean_absolute_error
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from i2moe_plugin import (
    BackboneError,
    Classification,
    ConfigError,
    LatentSpec,
    Multilabel,
    Regression,
    Trainer,
    TrainingError,
    Vanilla,
    create_backbone,
    create_model,
    register_backbone,
)
from i2moe_plugin.benchmarks.encoders import Frozen
from i2moe_plugin.interactions.masking import MASKINGS
from i2moe_plugin.seeding import seeded
from i2moe_plugin.target_scale import TargetScale
from i2moe_plugin.training import count_parameters

LATENTS = [LatentSpec(4), LatentSpec(5)]
CPU = Fabric(accelerator="cpu", devices=1)


def model_of(method="i2moe", task=None, seed=0, dropout=0.2, **options):
    """Built as a run builds it: each part from the run's seed."""
    task = task if task is not None else Classification(3)
    settings = {"head_hidden": 8, "head_dropout": dropout}

    def factory():
        return create_backbone("concat", LATENTS, task.num_outputs, **settings)

    with seeded(seed, "init", "model"):
        encoders = [nn.Linear(3, 4), nn.Linear(2, 5)]
        if method == "vanilla":
            return Vanilla(encoders, LATENTS, factory(), task)
        options = {"reweighting_hidden": 8, **options}
        return create_model("i2moe", encoders, LATENTS, factory, task, **options)


def split(samples, task=None, seed=0):
    """Both modalities are needed: the target depends on the sign of a product."""
    rng = torch.Generator().manual_seed(seed)
    one = torch.randn(samples, 3, generator=rng)
    two = torch.randn(samples, 2, generator=rng)
    product = one[:, 0] * two[:, 0]
    name = "classification" if task is None else task.name
    if name == "classification":
        target = (product > 0).long() + ((product > 0) & (one[:, 1] > 0)).long()
    elif name == "multilabel":
        target = torch.stack([product > 0, one[:, 1] > 0], 1)
    else:
        target = product
    return TensorDataset(one, two, target)


def loaders(samples=37, batch=8, task=None):
    """The last training batch is smaller than the others."""
    train = DataLoader(split(samples, task), batch_size=batch, shuffle=True)
    return train, DataLoader(split(23, task, seed=1), batch_size=batch)


def trainer_of(model, metric="accuracy", **options):
    return Trainer(model, metric=metric, fabric=CPU, **{"lr": 1e-2, **options})


def without_time(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def assert_same_training(one, other):
    assert without_time(one.history) == without_time(other.history)
    assert one.best_epoch == other.best_epoch
    assert_same_state(one.model.state_dict(), other.model.state_dict())


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def pollute():
    """What another run in the same process might leave behind."""
    torch.manual_seed(12345)
    np.random.seed(99)  # noqa: NPY002
    random.seed(7)
    torch.rand(3)


@dataclasses.dataclass(frozen=True)
class Scripted(Classification):
    """A task whose metric on each epoch is given."""

    values: tuple[float, ...] = ()
    script: list = dataclasses.field(default_factory=list, compare=False)
    metric_names = ("accuracy", "loss", "mae")

    def metric(self, name, prediction, target):
        self.script.append(name)
        return self.values[len(self.script) - 1]


def scripted(values, metric="accuracy"):
    trainer = trainer_of(model_of(task=Scripted(3, values=tuple(values))), metric)
    states = []
    trainer.fit(
        *loaders(),
        epochs=len(values),
        on_epoch=lambda _: states.append(copy.deepcopy(trainer.model.state_dict())),
    )
    return trainer, states


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_it_learns(method):
    task = Classification(3)
    trainer = trainer_of(model_of(method, dropout=0.0), lr=2e-2)
    train, valid = loaders(400, 50)
    test = split(300, seed=2)
    seen = []
    trainer.fit(train, valid, epochs=25, on_epoch=seen.append)
    assert seen == trainer.history
    assert [record["epoch"] for record in seen] == list(range(1, 26))
    assert seen[-1]["train"]["task"] < 0.6 * seen[0]["train"]["task"]
    result = trainer.predict(DataLoader(test, batch_size=64))
    assert (
        task.metrics(result.prediction, result.target)["accuracy"] > 0.75
    )  # without interaction, 0.5


@pytest.mark.parametrize(
    ("task", "metric"),
    [(Multilabel(2), "micro_f1"), (Regression(1), "mae"), (Classification(3), "auroc")],
)
def test_every_task_trains_and_selects_by_its_metric(task, metric):
    trainer = trainer_of(model_of(task=task), metric)
    train, valid = loaders(60, 20, task)
    trainer.fit(train, valid, epochs=3)
    result = trainer.predict(valid)
    best = trainer.history[trainer.best_epoch - 1]["valid"]
    assert best[metric] == pytest.approx(task.metrics(result.prediction, result.target)[metric])
    assert best["loss"] == pytest.approx(result.loss)
    values = [record["valid"][metric] for record in trainer.history]
    assert best[metric] == (min(values) if metric == "mae" else max(values))


def test_a_record_holds_the_means_over_samples():
    """Oracle at lr 0: every batch is judged by the same weights."""
    model = model_of(masking="zero", dropout=0.0, reweighting_dropout=0.0, interaction_weight=0.3)
    trainer = trainer_of(model, lr=0.0)
    train, valid = loaders()
    trainer.fit(train, valid, epochs=1)
    record = trainer.history[0]["train"]
    *inputs, target = split(37).tensors
    model.train()
    output = model(inputs)
    losses = model.losses(output, target)
    assert record["task"] == pytest.approx(losses.task.item(), rel=1e-5)
    assert record["loss"] == pytest.approx(losses.total.item(), rel=1e-5)
    assert record["interaction"] == pytest.approx(losses.interaction.tolist(), rel=1e-4)
    assert record["weights"] == pytest.approx(output.weights.mean(0).tolist(), rel=1e-5)
    assert record["auxiliary"] == 0
    assert trainer.history[0]["seconds"] > 0


@pytest.mark.parametrize("masking", MASKINGS)
def test_e3_d10_the_same_seed_gives_the_same_numbers_whatever_ran_before(masking):
    """E3, D10: upstream builds the model before it seeds."""
    trainers = []
    for _ in range(2):
        trainer = trainer_of(model_of(masking=masking), seed=5)
        trainer.fit(*loaders(), epochs=2, on_epoch=lambda _: pollute())
        trainers.append(trainer)
        pollute()
        torch.rand(len(trainers))
    assert_same_training(*trainers)
    test = DataLoader(split(9, seed=3), batch_size=4)
    for absent in ([], [0]):
        results = [trainer.predict(test, absent) for trainer in trainers]
        np.testing.assert_array_equal(results[0].prediction, results[1].prediction)
        pollute()


def test_e2_other_seeds_give_other_numbers():
    """E2: upstream's three regression runs all use seed 0."""
    initial = [model_of(seed=seed).state_dict() for seed in (0, 1)]
    assert not torch.equal(*(state["encoders.0.weight"] for state in initial))
    trainers = [trainer_of(model_of(seed=0), seed=seed) for seed in (0, 1)]
    for trainer in trainers:
        trainer.fit(*loaders(), epochs=1)
    assert trainers[0].history[0]["train"]["loss"] != trainers[1].history[0]["train"]["loss"]


def test_two_epochs_differ_in_shuffling_and_noise():
    """At lr 0 only the noise and the order can tell epochs apart."""
    orders = []

    class Watch(TensorDataset):
        def __getitem__(self, index):
            orders.append(index)
            return super().__getitem__(index)

    trainer = trainer_of(model_of(), lr=0.0)
    train = DataLoader(Watch(*split(37).tensors), batch_size=8, shuffle=True)
    trainer.fit(train, loaders()[1], epochs=2)
    one, two = (record["train"]["interaction"] for record in trainer.history)
    assert one != two
    first, second = orders[-74:-37], orders[-37:]
    assert sorted(first) == sorted(second) == list(range(37))
    assert first != second


def test_training_leaves_the_global_random_states_alone():
    trainer, data = trainer_of(model_of()), loaders()
    pollute()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    trainer.fit(*data, epochs=1)
    trainer.predict(DataLoader(split(5), batch_size=2, shuffle=True), absent=[1])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("stop", ["in the middle", "at the end"])
def test_going_on_is_as_never_having_stopped(masking, stop):
    """Bit for bit: weights, optimiser, masking's statistics, best epoch."""
    whole = trainer_of(model_of(masking=masking))
    whole.fit(*loaders(), epochs=4)

    states = []
    first = trainer_of(model_of(masking=masking))
    if stop == "at the end":
        first.fit(*loaders(), epochs=2)
        states.append(first.state_dict())
    else:  # what a checkpoint writer does, while training goes on
        first.fit(*loaders(), epochs=3, on_epoch=lambda _: states.append(first.state_dict()))
        states = [states[1]]
    assert [record["epoch"] for record in states[0]["history"]] == [1, 2]
    before = copy.deepcopy(states[0])

    second = trainer_of(model_of(masking=masking, seed=8))
    pollute()
    second.load_state_dict(states[0])
    second.fit(*loaders(), epochs=4)
    assert_same_training(whole, second)
    # The state is a copy: neither training changes it.
    assert_same_state(before["model"], states[0]["model"])
    assert_same_state(before["best_state"], states[0]["best_state"])
    moments = before["optimizer"]["state"], states[0]["optimizer"]["state"]
    for key in moments[0]:
        assert_same_state(*(moment[key] for moment in moments))
    assert len(states[0]["history"]) == 2


def test_more_epochs_on_the_same_trainer_go_on_from_the_last_one():
    whole, twice = trainer_of(model_of()), trainer_of(model_of())
    whole.fit(*loaders(), epochs=4)
    for epochs in (2, 3, 3, 4):
        twice.fit(*loaders(), epochs=epochs)
    assert_same_training(whole, twice)


def test_no_epoch_leaves_the_model_as_it_was():
    model = model_of()
    before = copy.deepcopy(model.state_dict())
    trainer = trainer_of(model)
    trainer.fit(*loaders(), epochs=0)
    assert trainer.history == []
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize(
    ("values", "metric", "best"),
    [
        ([0.1, 0.3, 0.2], "accuracy", 2),
        ([0.3, 0.3, 0.3], "accuracy", 1),  # strict improvement
        ([0.0, 0.0], "accuracy", 1),
        ([math.nan, math.nan], "accuracy", 1),
        ([math.nan, 0.0, math.nan, 0.0], "accuracy", 2),
        ([0.2, math.nan, 0.3, math.nan], "accuracy", 3),
        ([0.5, 0.1, 0.2], "mae", 2),
        ([0.5, 0.5], "mae", 1),
        ([math.nan, 0.9, 0.8], "mae", 3),
        ([0.9, math.nan], "mae", 1),
        ([-1.0, -0.5], "accuracy", 2),
    ],
)
def test_e8_m5_the_best_epoch_is_kept(values, metric, best):
    """E8, M5: upstream keeps no model at all where the accuracy is never above 0."""
    trainer, states = scripted(values, metric)
    assert trainer.best_epoch == best
    assert_same_state(trainer.model.state_dict(), states[best - 1])
    others = [state for epoch, state in enumerate(states, 1) if epoch != best]
    for other in others:
        assert not torch.equal(other["encoders.0.weight"], states[best - 1]["encoders.0.weight"])


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_divergence_is_told_and_not_reported_as_a_result(method, clip):
    trainer = trainer_of(model_of(method), lr=1e30, clip_grad_norm=clip)
    with pytest.raises(TrainingError, match=r"not finite.*lower learning rate"):
        trainer.fit(*loaders(), epochs=3)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_is_told(clip):
    """The square root's gradient at 0 is infinite: clipping must not raise its own error."""

    @register_backbone("test-root")
    class Root(nn.Module):
        def forward(self, latents):
            fused = torch.cat(latents, 1)
            return fused + (fused - fused).sqrt()

    task = Classification(3)
    model = Vanilla(
        [nn.Linear(3, 4), nn.Linear(2, 5)], LATENTS, create_backbone("test-root", LATENTS, 3), task
    )
    with pytest.raises(TrainingError, match="not finite"):
        trainer_of(model, clip_grad_norm=clip).fit(*loaders(), epochs=2)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_targets_that_are_not_finite_are_told_as_the_training_loss(clip):
    task = Regression(1)
    data = split(37, task)
    data.tensors[2][30] = math.nan
    trainer = trainer_of(model_of(task=task), "mae", clip_grad_norm=clip)
    with pytest.raises(TrainingError, match=r"training loss is not finite in epoch 1 \(loss nan"):
        trainer.fit(DataLoader(data, batch_size=8), loaders(task=task)[1], epochs=2)


def test_d8_clipping_acts_before_the_step():
    """D8: upstream clips after it. So small a norm leaves Adam's epsilon to decide."""
    moved = {}
    for clip in (None, 1e3, 1e-12):
        model = model_of("vanilla", dropout=0.0)
        before = model.encoders[0].weight.detach().clone()
        trainer_of(model, clip_grad_norm=clip).fit(*loaders(8, 8), epochs=1)
        moved[clip] = (model.encoders[0].weight - before).abs().max().item()
    assert moved[None] == pytest.approx(1e-2, rel=1e-3)
    assert moved[1e3] == pytest.approx(moved[None])
    assert moved[1e-12] < 1e-5


def test_weight_decay_is_decoupled_and_frozen_parameters_stay():
    model = model_of("vanilla")
    model.encoders[1].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    trainer_of(model, weight_decay=0.5).fit(*loaders(), epochs=1)
    assert torch.equal(model.state_dict()["encoders.1.weight"], before["encoders.1.weight"])
    assert not torch.equal(model.state_dict()["encoders.0.weight"], before["encoders.0.weight"])
    assert count_parameters(model.encoders) == 3 * 4 + 4


def test_x1_every_step_trains_in_training_mode():
    """X1: upstream's baselines train in evaluation mode from the second epoch on."""
    model, modes = model_of(), []
    model.bank.plan = "loop"  # the plan in which every expert is called
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda m, i, o, name=name: modes.append((torch.is_grad_enabled(), m.training, name))
        )
    trainer_of(model).fit(*loaders(), epochs=2)
    assert {(grad, mode) for grad, mode, _ in modes} == {(True, True), (False, False)}
    for part in ("bank.experts.3.head.2", "encoders.1", "reweighting.layers.2", "bank"):
        assert {mode for _, mode, name in modes if name == part} == {True, False}


def test_e6_a_frozen_encoder_stays_as_it_is():
    """E6: upstream's "frozen" VGG goes on updating its batch norm's running statistics."""
    frozen = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6))
    model = model_of("vanilla")
    model.encoders[0] = nn.Sequential(Frozen(frozen), nn.Linear(6, 4))
    before = copy.deepcopy(frozen.state_dict())
    trainer = trainer_of(model)
    trainer.fit(*loaders(), epochs=2)
    assert_same_state(frozen.state_dict(), before)
    assert not frozen.training


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_a_last_batch_of_one(method):
    trainer = trainer_of(
        model_of(method, **({} if method == "vanilla" else {"masking": "marginal"}))
    )
    train, _ = loaders(9, 4)
    trainer.fit(train, DataLoader(split(5), batch_size=2), epochs=2)
    one = trainer.predict(DataLoader(split(1), batch_size=4))
    assert one.prediction.shape == (1, 3)
    assert len(trainer.history) == 2


def test_nothing_to_train_on_or_to_select_by_is_told():
    empty, some = DataLoader(split(0)), loaders()[0]
    with pytest.raises(TrainingError, match="training split is empty"):
        trainer_of(model_of()).fit(empty, some, epochs=1)
    with pytest.raises(TrainingError, match="validation split is empty"):
        trainer_of(model_of()).fit(some, empty, epochs=1)


def test_metrics_the_task_lacks_are_refused_before_training():
    with pytest.raises(ConfigError, match="classification has no metric 'acuracy'") as caught:
        trainer_of(model_of(), "acuracy")
    assert "Did you mean 'accuracy'" in str(caught.value)
    with pytest.raises(ConfigError, match=r"regression has no metric 'accuracy'.* It has: mae"):
        trainer_of(model_of(task=Regression(1)), "accuracy")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_inputs_that_are_not_finite_are_named_before_training(bad):
    data = split(37)
    data.tensors[1][:, 1] = bad
    model = model_of()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TrainingError, match="latent of modality 2 is not finite before training"):
        trainer_of(model).fit(DataLoader(data, batch_size=8), loaders()[1], epochs=1)
    assert_same_state(model.state_dict(), before)


def test_a_backbone_that_gives_nan_is_named_before_training():
    @register_backbone("test-nan")
    class GivesNaN(nn.Module):
        def forward(self, latents):
            return torch.cat(latents, 1).abs().neg().log()

    model = create_model(
        "i2moe",
        [nn.Linear(3, 4), nn.Linear(2, 5)],
        LATENTS,
        lambda: create_backbone("test-nan", LATENTS, 3),
        Classification(3),
    )
    with pytest.raises(BackboneError, match="output is not finite before training, although"):
        trainer_of(model).fit(*loaders(), epochs=1)
    assert trainer_of(model_of()).history == []


@pytest.mark.parametrize("weights", [None, (0.1, 1.0, 5.0)])
def test_predictions_do_not_depend_on_the_batches(weights):
    """Rows in order, and the loss over samples, not over batches."""
    task = Classification(3, weights)
    model, data = model_of(task=task), split(23)
    trainer = trainer_of(model)
    one, other = (trainer.predict(DataLoader(data, batch_size=size)) for size in (23, 4))
    assert not model.training
    for field in ("prediction", "outputs", "weights"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-6)
    np.testing.assert_array_equal(one.target, data.tensors[2].numpy())
    np.testing.assert_array_equal(other.target, one.target)
    assert other.loss == pytest.approx(one.loss, rel=1e-6)
    # Oracle: the model itself.
    *inputs, target = data.tensors
    with torch.no_grad():
        output = model(inputs)
    assert one.loss == pytest.approx(task.loss(output.prediction, target).item(), rel=1e-6)
    np.testing.assert_allclose(one.prediction, output.prediction, atol=1e-6)
    np.testing.assert_allclose(one.weights, output.weights, atol=1e-6)
    assert one.outputs.shape == (23, 4, 3)
    np.testing.assert_allclose(one.outputs, output.outputs[:, 0].transpose(0, 1), atol=1e-6)
    mixed = (one.outputs * one.weights[:, :, None]).sum(1)
    np.testing.assert_allclose(mixed, one.prediction, atol=1e-5)


def test_e1_targets_are_kept_as_they_are():
    """E1: upstream overwrites them with booleans before it computes the test MAE."""
    task = Regression(1)
    trainer, data = trainer_of(model_of(task=task), "mae"), split(31, task)
    result = trainer.predict(DataLoader(data, batch_size=7))
    truth = data.tensors[2].numpy()
    np.testing.assert_array_equal(result.target[:, 0], truth)
    expected = mean_absolute_error(truth, result.prediction[:, 0])
    assert task.metrics(result.prediction, result.target)["mae"] == pytest.approx(expected)
    classes = trainer_of(model_of())
    result = classes.predict(DataLoader(split(31), batch_size=7))
    accuracy = accuracy_score(split(31).tensors[2], result.prediction.argmax(1))
    assert Classification(3).metrics(result.prediction, result.target)["accuracy"] == accuracy


def test_predictions_of_vanilla_and_of_nothing():
    trainer = trainer_of(model_of("vanilla"))
    result = trainer.predict(DataLoader(split(3)))
    assert result.outputs is None
    assert result.weights is None
    nothing = trainer.predict(DataLoader(split(0)))
    assert nothing.prediction.shape == (0, 3)
    assert len(nothing.target) == 0
    assert math.isnan(nothing.loss)


def test_predicting_the_first_samples_alone():
    trainer, (train, _) = trainer_of(model_of()), loaders()
    rows = [
        tuple(part[start : start + 8] for part in train.dataset[:]) for start in range(0, 37, 8)
    ]
    whole, some = trainer.predict(rows), trainer.predict(rows, most=12)
    assert len(some.prediction) == 16
    np.testing.assert_array_equal(some.prediction, whole.prediction[:16])


def test_predicting_without_a_modality():
    trainer, data = trainer_of(model_of(masking="mean")), split(20)
    trainer.fit(*loaders(), epochs=1)
    one, two, target = data.tensors
    whole = trainer.predict([(one, two, target)])
    gone = trainer.predict([(one, two, target)], absent=[1])
    not_given = trainer.predict([(one, None, target)], absent=[1])
    assert not np.allclose(whole.prediction, gone.prediction)
    np.testing.assert_array_equal(gone.prediction, not_given.prediction)


def test_predictions_that_are_not_finite_are_refused():
    trainer, data = trainer_of(model_of()), split(20)
    data.tensors[0][3:5] = math.nan
    with pytest.raises(TrainingError, match="2 of 20 predictions are not finite"):
        trainer.predict(DataLoader(data, batch_size=6))


def test_sampler_and_data_set_are_told_the_epoch():
    told = []

    class Told(TensorDataset):
        def set_epoch(self, epoch):
            told.append(("data", epoch))

    class Sampler(torch.utils.data.SequentialSampler):
        def set_epoch(self, epoch):
            told.append(("sampler", epoch))

    data = Told(*split(8).tensors)
    train = DataLoader(data, batch_size=4, sampler=Sampler(data))
    trainer = trainer_of(model_of())
    trainer.fit(train, loaders()[1], epochs=2)
    trainer.fit(train, loaders()[1], epochs=3)
    assert told == [(part, epoch) for epoch in (1, 2, 3) for part in ("sampler", "data")]


def test_batches_of_tokens_with_padding_masks():
    """A modality may be a tuple (x, mask), of another length in every batch."""

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 5)

        def forward(self, x, mask):
            return self.linear(x), mask

    @register_backbone("test-words", padding=True)
    class Mean(nn.Module):
        def forward(self, latents, masks):
            keep = (~masks[1]).unsqueeze(-1)
            words = (latents[1] * keep).sum(1) / keep.sum(1)
            return torch.cat([latents[0], words], 1)

    latents = [LatentSpec(4), LatentSpec(5, tokens=3, padded=True)]
    batches = []
    for tokens in (3, 6, 1):
        mask = torch.zeros(4, tokens, dtype=torch.bool)
        mask[0, 1:] = True
        words = torch.randn(4, tokens, 2)
        batches.append((torch.randn(4, 3), (words, mask), torch.tensor([0, 1, 2, 0])))
    for masking in MASKINGS:
        model = create_model(
            "i2moe",
            [nn.Linear(3, 4), Words()],
            latents,
            lambda: create_backbone("test-words", latents, 3),
            Classification(3),
            masking=masking,
        )
        trainer = trainer_of(model)
        trainer.fit(batches, batches, epochs=2)
        assert trainer.predict(batches).prediction.shape == (12, 3)
        if masking in ("mean", "matched", "marginal"):
            tokens = (9 + 1) + (18 + 1) + (3 + 1)
            assert (model.masking.count / trainer.best_epoch).tolist() == [12, tokens]


def test_bfloat16_trains_to_full_precision_results():
    model = model_of("i2moe")
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    trainer = Trainer(model, metric="accuracy", lr=1e-2, fabric=fabric)
    trainer.fit(*loaders(), epochs=1)
    result = trainer.predict(loaders()[1])
    assert result.prediction.dtype == result.outputs.dtype == result.weights.dtype == np.float32
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert_close(torch.from_numpy(result.weights).sum(1), torch.ones(23))


def test_a_run_that_goes_on_keeps_its_plan():
    """Another plan adds in another order, and would not go on with the same digits."""
    train, valid = loaders()
    stopped = Trainer(model_of(), metric="accuracy", fabric=CPU)
    stopped.model.bank.plan = "batched"
    stopped.fit(train, valid, 1)
    other = Trainer(model_of(seed=1), metric="accuracy", fabric=CPU)
    other.load_state_dict(stopped.state_dict())
    assert other.plan["plan"] == "batched"
    other.fit(train, valid, 2)
    assert other.plan == stopped.plan
    stopped.fit(train, valid, 2)
    assert other.history[1]["train"] == stopped.history[1]["train"]


class Loads(nn.Linear):
    """A layer whose own way of loading raises after it has taken its tensors."""

    def _load_from_state_dict(self, state, prefix, *rest):
        super()._load_from_state_dict(state, prefix, *rest)
        if self.weight.abs().max() > 50:
            raise ZeroDivisionError("too large")


def without(state, *path):
    for key in path[:-1]:
        state = state[key]
    del state[path[-1]]


UNFIT = {
    "no plan": lambda state: without(state, "plan"),
    "no model": lambda state: without(state, "model"),
    "a tensor less": lambda state: without(state, "model", "encoders.0.bias"),
    "a tensor of the best epoch less": lambda state: without(
        state, "best_state", "encoders.0.bias"
    ),
    "another shape": lambda state: state["model"].update({"encoders.0.bias": torch.zeros(9)}),
    "a parameter less": lambda state: state["optimizer"]["param_groups"][0]["params"].pop(),
    "another moment": lambda state: state["optimizer"]["state"][0].update(
        exp_avg=torch.ones(3, 99)
    ),
    "no groups": lambda state: without(state, "optimizer", "param_groups"),
    "a gap": lambda state: state["history"].pop(0),
    "no epochs": lambda state: state["history"].clear(),
    "a plan of another version": lambda state: state.update(plan={"unknown": 1}),
    "refused in the middle": lambda state: state["model"]["encoders.0.weight"].fill_(99.0),
}


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("fault", UNFIT)
def test_a_state_that_is_refused_changes_nothing(fault, fitted):
    def trainer():
        model = model_of()
        model.encoders[0].__class__ = Loads
        return trainer_of(model)

    other = trainer_of(model_of(seed=5))
    other.fit(*loaders(), epochs=2)
    state = other.state_dict()
    UNFIT[fault](state)
    ours, undisturbed = trainer(), trainer()
    if fitted:
        for one in (ours, undisturbed):
            one.fit(*loaders(), epochs=2)
    before = copy.deepcopy(ours.model.state_dict())
    with pytest.raises(TrainingError, match="does not fit the model"):
        ours.load_state_dict(state)
    assert_same_state(ours.model.state_dict(), before)
    for one in (ours, undisturbed):
        one.fit(*loaders(), epochs=3)
    assert_same_training(ours, undisturbed)


# Real targets, and stopping early.


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_units_of_a_target_change_nothing_but_the_units_of_what_is_predicted(method):
    """Standardised, y and 1000 y + 50000 are the same targets: the same model is trained."""
    task, found = Regression(1), []
    for scale, shift in ((1.0, 0.0), (1000.0, 5e4)):
        parts = [split(count, task, seed) for count, seed in ((37, 0), (23, 1))]
        one, two = (
            TensorDataset(*part.tensors[:2], part.tensors[2] * scale + shift) for part in parts
        )
        trainer = trainer_of(
            model_of(method, task),
            "mae",
            target_scale=TargetScale.fit(one.tensors[2].numpy(), 1),
        )
        trainer.fit(DataLoader(one, batch_size=8), DataLoader(two, batch_size=8), 3)
        found.append((trainer.history, trainer.predict(DataLoader(two, batch_size=8))))
    (small, ours), (large, theirs) = found
    assert theirs.prediction == pytest.approx(ours.prediction * 1000 + 5e4, rel=1e-4)
    assert theirs.loss == pytest.approx(ours.loss, rel=1e-3)
    if method == "i2moe":
        mixed = np.einsum("ne,nec->nc", theirs.weights, theirs.outputs)
        assert mixed == pytest.approx(theirs.prediction, rel=1e-4)
    for one, other in zip(small, large, strict=True):
        assert other["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=1e-3)
        assert other["valid"]["mae"] == pytest.approx(1000 * one["valid"]["mae"], rel=1e-3)


def test_a_scale_is_numpys_and_turns_back():
    targets = np.random.default_rng(0).normal(3, 5, size=(50, 2))
    targets[:, 1] = 1e9 / 7  # whose mean is off by a rounding
    scale = TargetScale.fit(targets, 2)
    assert scale.mean == pytest.approx(tuple(targets.mean(0)))
    assert scale.deviation == pytest.approx((targets[:, 0].std(), 1.0))
    given = torch.tensor(targets)
    assert_close(scale.standardise(given)[:, 0].std(correction=0), torch.tensor(1.0).double())
    assert_close(scale.restore(scale.standardise(given)), given)
    assert not scale.standardise(given)[:, 1].any()


class ScriptedTrainer(Trainer):
    """A trainer whose validation says what a test writes down: (accuracy, loss) by epoch."""

    script: list[tuple[float, float]]

    def predict(self, batches, absent=()):
        found = super().predict(batches, absent)
        value, loss = self.script[len(self.history)]
        self.model.task = ScriptedTask(3)
        object.__setattr__(self.model.task, "value", value)
        return dataclasses.replace(found, loss=loss)


class ScriptedTask(Classification):
    def metric(self, name, prediction, target):
        return self.value


@pytest.mark.parametrize(
    ("patience", "script", "best", "trained"),
    [
        (None, [(0.5, 1), (0.7, 1), (0.7, 0.5), (0.6, 1), (0.6, 1), (0.6, 1)], 2, 6),
        (2, [(0.5, 1), (0.7, 1), (0.7, 0.5), (0.6, 1), (0.6, 1), (0.9, 1)], 3, 5),
        (2, [(0.5, 1), (0.7, 1), (0.7, 1), (0.6, 1), (0.9, 1), (0.9, 2)], 2, 4),
        (3, [(0.5, 1), (0.7, 1), (0.7, 1), (0.6, 1), (0.9, 1), (0.9, 2)], 5, 6),
    ],
)
def test_patience_counts_epochs_since_the_best_one(patience, script, best, trained):
    trainer = ScriptedTrainer(model_of("vanilla"), metric="accuracy", fabric=CPU, patience=patience)
    trainer.script = script
    trainer.fit(*loaders(), 6)
    assert (trainer.best_epoch, len(trainer.history)) == (best, trained)


def rates_of(trainer, epochs):
    """The learning rate of each epoch."""
    rates = []
    trainer.fit(
        *loaders(), epochs, lambda _: rates.append(trainer._optimizer.param_groups[0]["lr"])
    )
    return rates


def test_the_schedule_is_torchs_cosine():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    oracle, expected = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7), []
    for _ in range(7):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        oracle.step()
    cosine = trainer_of(model_of("vanilla"), lr=0.1, schedule="cosine")
    assert rates_of(cosine, 7) == pytest.approx(expected)
    assert rates_of(trainer_of(model_of("vanilla"), lr=0.1), 3) == [0.1] * 3


def test_a_schedule_goes_on_where_it_was_stopped():
    whole, first, second = (
        trainer_of(model_of("vanilla"), lr=0.1, schedule="cosine") for _ in range(3)
    )
    whole.fit(*loaders(), 6)

    def stop(record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.fit(*loaders(), 6, stop)
    second.load_state_dict(first.state_dict())
    second.fit(*loaders(), 6)
    assert without_time(second.history) == without_time(whole.history)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])


def test_a_run_that_goes_on_stops_where_one_in_a_piece_does():
    whole = trainer_of(model_of("vanilla"), lr=0.1, patience=2)
    whole.fit(*loaders(), 30)
    assert len(whole.history) < 30
    first = trainer_of(model_of("vanilla"), lr=0.1, patience=2)
    first.fit(*loaders(), 2)
    second = trainer_of(model_of("vanilla"), lr=0.1, patience=2)
    second.load_state_dict(first.state_dict())
    second.fit(*loaders(), 30)
    assert without_time(second.history) == without_time(whole.history)
    third = trainer_of(model_of("vanilla"), lr=0.1, patience=2)
    third.load_state_dict(second.state_dict())
    third.fit(*loaders(), 30)
    assert len(third.history) == len(whole.history)
