"""What trains and explains gives the CPU's numbers on a simulated accelerator, without waiting."""

import copy

import pytest
import torch
from device import DEVICE, Simulated, counted
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import i2moe_plugin.adapters  # noqa: F401
from i2moe_plugin import Classification, LatentSpec, Regression, create_backbone, create_model
from i2moe_plugin.attribution.maps import explain_tokens
from i2moe_plugin.attribution.names import EXPLAINERS
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.attribution.tokens import TokenModel
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.execution import layers
from i2moe_plugin.execution.rule import Plan, PlanReport
from i2moe_plugin.interactions.losses import OBJECTIVES
from i2moe_plugin.interactions.masking import MASKINGS
from i2moe_plugin.methods import METHODS
from i2moe_plugin.training import Trainer

BACKBONES = [name for name in backbones.names() if ":" not in name]
PLANS = [plan for plan in Plan.__args__ if plan != "auto"]
torch.__future__.set_swap_module_params_on_conversion(True)


@pytest.fixture(autouse=True)
def _one_way(monkeypatch):
    """Dropout of our own, and a kernel of attention, are the CPU's alone: let both take torch's."""
    monkeypatch.setattr(layers, "SMALL_DROPOUT", 2**60)
    with sdpa_kernel(SDPBackend.MATH):
        yield


class Accelerator(CPUAccelerator):
    def setup_device(self, device):
        assert device == DEVICE


def fabric(device="sim"):
    if device == "cpu":
        return Fabric(accelerator="cpu", devices=1)
    return Fabric(strategy=SingleDeviceStrategy(device=DEVICE, accelerator=Accelerator()))


def problem(backbone="lrtf", method="i2moe", task=None, **options):
    """A model, its inputs [6, ...] and targets."""
    entry, task = backbones.get(backbone), task or Classification(3)
    tokens = entry.latents == "tokens" or method == "fl-i2moe"
    count = 3 if backbone == "mi3" else max(2, entry.min_modalities)
    latents = [LatentSpec(8, 3 if tokens else None) for _ in range(count)]
    torch.manual_seed(0)

    def factory(num_outputs=task.num_outputs):
        return create_backbone(backbone, latents, num_outputs)

    encoders = [nn.Linear(5, 8) for _ in latents]
    model = create_model(method, encoders, latents, factory, task, **options)
    if backbone == "ef-released" and options.get("plan") == "stacked":
        for module in model.modules():  # vmap draws the numbers of its dropout in another order
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
    inputs = [torch.randn(6, *([3] if tokens else []), 5) for _ in latents]
    target = torch.arange(6) % 3 if isinstance(task, Classification) else torch.randn(6, 1)
    return model, inputs, target


def step(model, inputs, target, device):
    """One training step's loss and gradients, on the CPU, and how often it waited."""
    torch.manual_seed(1)
    inputs, target = [x.to(device) for x in inputs], target.to(device)
    model.zero_grad()
    with counted() as waited:
        losses = model.losses(model(inputs), target)
        losses.total.backward()
        waited = dict(waited)
    gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
    return [losses.total.detach().cpu(), *gradients], waited


def both(*built, **options):
    """What a model gives on the CPU and on the device: results, waits of a second step, errors."""
    model, inputs, target = problem(*built, **options)
    other = copy.deepcopy(model).to("sim")
    assert all(isinstance(p, Simulated) for p in other.parameters())
    found = []
    for one, device in ((model, "cpu"), (other, "sim")):
        try:
            first, _ = step(one, inputs, target, device)
            second, waited = step(one, inputs, target, device)
        except ConfigError as error:
            found.append((None, str(error).partition(":")[0], {}))
        else:
            found.append(((first, second), "", waited))
    return found


def assert_alike(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_and_plan_gives_the_cpus_numbers_and_never_waits(backbone, plan):
    (cpu, refused, _), (device, refused_there, waited) = both(backbone, plan=plan)
    assert refused == refused_there
    if cpu is not None:
        for ours, theirs in zip(device, cpu, strict=True):
            assert_alike(ours, theirs)
        assert waited == {}


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_masking_and_objective(masking, objective):
    task = Regression(1) if "regression" in objective else None
    (cpu, *_), (device, _, waited) = both(
        "concat", task=task, masking=masking, interaction_loss=objective
    )
    for ours, theirs in zip(device, cpu, strict=True):
        assert_alike(ours, theirs)
    assert waited == {}


def data(inputs, target, batches):
    return [(*inputs, target)] * batches


@pytest.mark.parametrize("method", [name for name in METHODS if "NAME" not in name])
def test_every_method_fits_and_predicts_and_no_step_waits(method):
    backbone = "token-transformer" if method == "fl-i2moe" else "concat"
    results = []
    for device in ("cpu", "sim"):
        model, inputs, target = problem(backbone, method)
        trainer = Trainer(model, metric="accuracy", lr=1e-3, fabric=fabric(device))
        trainer.fit(data(inputs, target, 3), data(inputs, target, 1), 2)
        results.append((trainer.history, trainer.predict(data(inputs, target, 2))))
    (theirs, told), (ours, said) = results
    for one, other in zip(ours, theirs, strict=True):
        assert one["train"]["loss"] == pytest.approx(other["train"]["loss"], rel=1e-4)
    torch.testing.assert_close(
        torch.tensor(said.prediction), torch.tensor(told.prediction), rtol=1e-3, atol=1e-4
    )
    counts = []
    for batches in (2, 5):  # at the end of an epoch its sums are read, whatever its length
        with counted() as waited:
            trainer._train_epoch(data(inputs, target, batches), 3)
            counts.append(dict(waited))
    assert counts[0] == counts[1]
    assert set(counts[0]) == {"tolist"}


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_feature_attributions(explainer):
    model, inputs, _ = problem("token-transformer")
    maps = []
    for device in ("cpu", "sim"):
        tokens = TokenModel(copy.deepcopy(model).to(device))
        batch = tokens.encode([x.to(device) for x in inputs])
        said = tokens.outputs("mixture", batch.latents, batch.padding)
        targets = choose_targets(model.task, said)
        found = explain_tokens(explainer, tokens, batch, targets)
        maps.append([x.cpu() for x in found.importance])
    assert_alike(*maps)


def test_a_tensor_made_on_the_wrong_device_is_caught():
    class Careless(nn.Module):
        def forward(self, latents):
            return torch.cat(latents, 1) + torch.ones(16)

    from i2moe_plugin.backbones.entry import register_backbone

    register_backbone("careless")(Careless)
    model, inputs, target = problem("careless", plan="loop")
    step(model, inputs, target, "cpu")
    with pytest.raises(Exception, match="same device"):
        step(copy.deepcopy(model).to("sim"), inputs, target, "sim")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda x: x[0].item(), "item"),
        (lambda x: bool(x.sum() > 0), "item"),
        (lambda x: x.cpu(), "cpu"),
        (lambda x: x.to("cpu"), "cpu"),
        (lambda x: torch.empty(3).copy_(x), "cpu"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x[x > 0], "boolean index"),
    ],
)
def test_what_makes_python_wait_is_counted(read, name):
    values = torch.ones(3, device="sim")
    with counted() as waited:
        read(values)
        assert waited[name] >= 1


def test_a_list_of_values_is_counted():
    values = torch.ones(3, device="sim")
    with counted() as waited:
        assert values.tolist() == [1, 1, 1]
        assert sum(waited.values()) >= 1


def test_why_stacked_once_differed_from_the_loop(monkeypatch):
    """Stacked experts' parameters move side by side by ``parameter.data = ...``.

    A simulation that does not take the values along computes with each expert's old ones as if
    they were all: of 4 experts the memory of the first is read. On a device torch moves both.
    """
    model, inputs, target = problem("lrtf", expert_init="independent")
    other = copy.deepcopy(model).to("sim")
    for one, plan in ((model, "loop"), (other, "stacked")):
        one.bank.report = PlanReport(plan, "shared" if plan == "stacked" else "loop", "")
    expected, _ = step(model, inputs, target, "cpu")
    for _ in range(2):
        found, waited = step(other, inputs, target, "sim")
        assert_alike(found, expected)
        assert waited == {}
    first, second = (next(one.parameters()) for one in list(other.bank.experts)[:2])
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    moved = torch.zeros(3, device="sim")
    parameter = nn.Parameter(torch.ones(3, device="sim"))
    parameter.data = moved
    assert parameter.values is moved.values
    whole = torch.Tensor.data.__set__
    monkeypatch.setattr(
        Simulated, "data", property(lambda self: self, lambda self, new: whole(self, new))
    )
    parameter = nn.Parameter(torch.ones(3, device="sim"))
    parameter.data = moved
    assert parameter.values.tolist() == [1, 1, 1]  # torch holds others: the fault of the trial
