"""The checks of :mod:`i2moe_plugin.testing`, one function each.

A check's docstring says what must hold and, in its second paragraph, what to do where it does not.
It returns None or a remark, and raises :class:`~i2moe_plugin.testing.subject.Failed` or
:class:`~i2moe_plugin.testing.subject.Skipped`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.backbones.repair import leaves
from i2moe_plugin.backbones.soundness import NORM_OF_ONE
from i2moe_plugin.errors import ChangesLatentsError, I2MoEError
from i2moe_plugin.methods import create_model
from i2moe_plugin.model import I2MoE
from i2moe_plugin.tasks import Classification
from i2moe_plugin.testing.subject import CHECKS, Failed, Skipped, Subject, check

__all__ = ["CHECKS"]

BOTH = (True, False)  # training and evaluation mode


def _require(condition: bool, detail: str) -> None:
    if not condition:
        raise Failed(detail)


def _close(actual: Tensor, expected: Tensor) -> bool:
    return torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)


def _describe(latents: Sequence[LatentSpec]) -> str:
    kind = "vectors" if latents[0].tokens is None else "tokens"
    return f"{len(latents)} modalities, {'padded ' * latents[0].padded}{kind}"


@check()
def _builds(subject: Subject) -> str | None:
    """It can be built for every kind of latents and number of modalities it declares.

    Take the widths from an argument input_dims (or latents); declare what it cannot take:
    @register_backbone(..., latents=, min_modalities=, max_modalities=).
    """
    for latents in subject.cases():
        try:
            subject.build(latents)
        except ChangesLatentsError:
            raise
        except I2MoEError as error:
            raise Failed(f"{_describe(latents)}: {error}") from error
    return "only for latents of one width" if subject.one_width else None


@check("builds")
def _shapes(subject: Subject) -> None:
    """The output is [B, C] for any B, and the auxiliary loss a scalar.

    Return [B, ...], or [B, num_outputs] where you take num_outputs, for any batch size B.
    """
    for latents, output, auxiliary, _ in _outputs(subject):
        _require(
            output.shape == (subject.batch, subject.outputs) and auxiliary.shape == (),
            f"{_describe(latents)}: output {list(output.shape)}, auxiliary {list(auxiliary.shape)}",
        )


@check("builds", "shapes")
def _finite(subject: Subject) -> None:
    """Standard normal latents give no NaN and no infinity.

    Look for a division by zero, a logarithm or root of what may be negative, an empty tensor.
    """
    for latents, output, auxiliary, training in _outputs(subject):
        _require(
            bool(output.isfinite().all() and auxiliary.isfinite()),
            f"{_describe(latents)}: NaN or infinity in {_mode(training)} mode.",
        )


def _outputs(subject: Subject) -> Iterator[tuple[list[LatentSpec], Tensor, Tensor, bool]]:
    """Latents, output, auxiliary loss, and whether in training, for all that it takes."""
    for latents in subject.cases():
        backbone = subject.build(latents)
        for training in BOTH:
            yield latents, *backbone.train(training)(subject.draw(latents)), training


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


_WORKS = ("builds", "shapes", "finite")


@check(*_WORKS)
def _batch_of_one(subject: Subject) -> str | None:
    """One sample is a batch: the last of an epoch may be that small.

    Write squeeze(dim), never squeeze(); take LayerNorm rather than BatchNorm.
    """
    remark = None
    for backbone, values in subject.built(BOTH):
        try:
            output, _ = backbone([value[:1] for value in values])
        except ValueError as error:
            if not backbone.training or NORM_OF_ONE not in str(error):
                raise
            remark = "BatchNorm: a batch size that leaves a last batch of one is refused by run"
            continue
        _require(bool(output.isfinite().all()), f"NaN in {_mode(backbone.training)} mode.")
    return remark


@check(*_WORKS)
def _inputs_unchanged(subject: Subject) -> None:
    """The latents are left as they are, for the other experts see them too.

    Write x = x + y instead of x += y or x.add_(y).
    """
    for backbone, values in subject.built(BOTH):
        before = [value.clone() for value in values]
        backbone(values)
        for m, (value, old) in enumerate(zip(values, before, strict=True), start=1):
            _require(torch.equal(value, old), f"it changes the latent of modality {m}.")


@check(*_WORKS)
def _deterministic(subject: Subject) -> None:
    """In evaluation mode the same latents give the same numbers.

    Draw noise in training only: nn.Dropout, F.dropout(x, p, self.training), torch.rand behind
    self.training. Keep nothing from call to call.
    """
    for backbone, values in subject.built():
        difference = (backbone(values)[0] - backbone(values)[0]).abs().max()
        _require(not difference, f"two calls in evaluation mode differ by {difference:.2g}.")


_SOUND = (*_WORKS, "batch of one", "inputs unchanged", "deterministic")


@check(*_SOUND)
def _no_batch_mixing(subject: Subject) -> None:
    """In evaluation mode a sample's output does not depend on the rest of its batch.

    Compute nothing over dimension 0: no mean, norm or softmax over the batch, and
    nn.MultiheadAttention with batch_first=True.
    """
    for backbone, values in subject.built():
        output, _ = backbone(values)
        for b in range(subject.batch):
            alone, _ = backbone([value[b : b + 1] for value in values])
            difference = (alone[0] - output[b]).abs().max()
            _require(_close(alone[0], output[b]), f"a sample alone differs by {difference:.2g}.")


@check(*_WORKS)
def _registered(subject: Subject) -> str | None:
    """Torch knows every tensor and module that it holds, before and after a training step.

    Parameters: nn.Parameter, and nn.ParameterList or nn.ModuleList in place of lists. Constants:
    register_buffer. What is computed from parameters: compute it in forward, and do not keep it.
    """
    repaired: list[str] = []
    for backbone, values in subject.built((True,)):
        _require_nothing_hidden(backbone)
        output, auxiliary = backbone(values)
        if output.requires_grad:
            (output.sum() + auxiliary).backward()
        _require_nothing_hidden(backbone)
        repaired = backbone.repaired
    return f"hidden in plain attributes, and repaired: {', '.join(repaired)}" if repaired else None


def _require_nothing_hidden(backbone: nn.Module) -> None:
    found = []
    known = set(backbone.modules())
    # torch's recurrent layers keep a list of their own parameters.
    registered = {id(tensor) for tensor in (*backbone.parameters(), *backbone.buffers())}
    for name, module in backbone.named_modules():
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers", "_modules"):
                continue
            for item in leaves(value):
                if isinstance(item, nn.Module) and item not in known:
                    found.append(f"{name}.{key}: a {type(item).__name__}")
                elif isinstance(item, Tensor) and id(item) not in registered:
                    computed = ", computed from parameters" if item.requires_grad else ""
                    found.append(f"{name}.{key}: a tensor {list(item.shape)}{computed}")
    _require(not found, f"torch does not see {'; '.join(found)}.")


@check(*_SOUND, "registered")
def _copies(subject: Subject) -> None:
    """A deep copy gives the same numbers and shares nothing; nor do two that were built.

    Make every parameter and buffer in the constructor; share none through a class attribute, a
    global variable or __deepcopy__.
    """
    for backbone, values in subject.built((True,)):
        backbone(values)  # a module that was used may hold more than a new one
        before, _ = backbone.eval()(values)
        twin, second = copy.deepcopy(backbone), next(subject.built())[0]
        _require(torch.equal(twin(values)[0], before), "a deep copy gives other numbers.")
        for what, other in (("a deep copy", twin), ("another one that was built", second)):
            with torch.no_grad():
                for tensor in itertools.chain(other.parameters(), other.buffers()):
                    tensor.add_(1)
            _require(torch.equal(backbone(values)[0], before), f"changing {what} changes it.")


_OWN = (*_SOUND, "registered", "copies")


@check(*_OWN)
def _state_dict(subject: Subject) -> None:
    """Another instance with its state_dict gives the same numbers.

    Whatever the output depends on must be a parameter or a persistent buffer.
    """
    latents = subject.latents()
    first, second = subject.build(latents, training=True), subject.build(latents)
    values = subject.draw(latents)
    first(values)  # so that running statistics have left their start
    second.load_state_dict(first.state_dict())
    same = torch.equal(first.eval()(values)[0], second(values)[0])
    _require(same, "another instance with the same state_dict gives other numbers.")


@check(*_OWN)
def _gradients(subject: Subject) -> None:
    """Within a few training steps a gradient reaches every parameter and every latent.

    Use the parameter, freeze it with requires_grad_(False), or declare it: unused= in
    check_backbone. detach() and argmax stop gradients.
    """
    latents = subject.latents()
    backbone = subject.build(latents, training=True)
    named = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    left = {*named, *(f"latent_{m + 1}" for m in range(len(latents)))}
    for _ in range(4):  # what starts at zero holds back others' gradients at first
        values = [value.requires_grad_() for value in subject.draw(latents, 16)]
        output, auxiliary = backbone(values)
        loss = (output * torch.randn_like(output)).sum() + auxiliary
        wanted = named | {f"latent_{m + 1}": value for m, value in enumerate(values)}
        gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        for (name, tensor), gradient in zip(wanted.items(), gradients, strict=True):
            if gradient is None:
                continue
            _require(bool(gradient.isfinite().all()), f"the gradient of {name} is not finite.")
            if gradient.any():
                left.discard(name)
            if name in named:
                with torch.no_grad():
                    tensor.sub_(0.01 * gradient.sign())
    left = {name for name in left if not any(fnmatch(name, p) for p in subject.unused)}
    _require(not left, f"no gradient reaches {', '.join(sorted(left))}.")


@check(*_OWN)
def _float64(subject: Subject) -> None:
    """A module moved to double precision computes in it.

    Make tensors in forward of the latents' type: x.new_zeros(...), torch.ones(..., dtype=x.dtype).
    """
    for backbone, values in subject.built():
        single, _ = backbone(values)
        double, auxiliary = backbone.double()([value.double() for value in values])
        for what, tensor in (("output", double), ("auxiliary loss", auxiliary)):
            _require(tensor.dtype == torch.float64, f"in float64 the {what} is {tensor.dtype}.")
        _require(_close(double.float(), single), "float64 and float32 give different numbers.")


@check(*_OWN)
def _mixed_precision(subject: Subject) -> None:
    """A training step under autocast in bfloat16 is finite.

    Layers return bfloat16 there: bring tensors that meet to one type, x.to(y.dtype).
    """
    for backbone, values in subject.built((True,)):
        with torch.autocast("cpu", torch.bfloat16):
            output, auxiliary = backbone(values)
            loss = output.float().sum() + auxiliary.float()
        _require(bool(loss.isfinite()), "the output is not finite.")
        if loss.requires_grad:
            loss.backward()
        finite = all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())
        _require(finite, "a gradient is not finite.")


@check(*_OWN)
def _cuda(subject: Subject) -> None:
    """A module moved to a GPU computes there, and gives the CPU's numbers.

    Make tensors in forward on the latents' device: x.new_zeros(...), torch.ones(..., device=...).
    """
    if not torch.cuda.is_available():
        raise Skipped("no GPU here")
    for backbone, values in subject.built():
        expected, _ = backbone(values)
        output, auxiliary = backbone.cuda()([value.cuda() for value in values])
        _require(output.is_cuda and auxiliary.is_cuda, f"its output is on {output.device}.")
        # TF32, where it is on, has 10 bits of mantissa.
        same = torch.allclose(output.cpu(), expected, rtol=1e-2, atol=1e-2)
        _require(same, "the GPU gives other numbers than the CPU.")


@check(*_WORKS)
def _auxiliary_loss(subject: Subject) -> None:
    """A declared auxiliary loss comes, and carries gradient.

    Return (output, loss) with a scalar made from parameters, or drop auxiliary=True.
    """
    if not subject.entry.auxiliary:
        raise Skipped("declares none")
    for backbone, values in subject.built((True,)):
        _require(backbone(values)[1].requires_grad, "no loss with a gradient is returned.")


@check(*_OWN)
def _padding(subject: Subject) -> None:
    """Neither what stands at padding nor how much there is matters, and gradients are finite.

    Set padded tokens to zero first (i2moe_plugin.backbones.latents.zero_padding), mask them in
    attention, and pool over real tokens (pool_tokens). A sample may be padding alone.
    """
    if not subject.takes_padding:
        raise Skipped("declares no padding masks; padded tokens reach it as zeros")
    latents = subject.latents("padded")
    backbone, values = subject.build(latents), subject.draw(latents)
    # At the end, at the start, in between, none, all but one, all.
    rows = ["00011", "11000", "01010", "00000", "10111", "11111"]
    mask = torch.tensor([[place == "1" for place in row] for row in rows])
    masks = [mask.roll(m, 0) for m in range(len(latents))]
    before = backbone(values, masks)
    for noise in (7.0, float("nan")):
        pairs = zip(values, masks, strict=True)
        after = backbone([x.masked_fill(gone.unsqueeze(-1), noise) for x, gone in pairs], masks)
        _require(all(map(torch.equal, after, before)), f"{noise} at padding changes the output.")

    lengths = torch.tensor([[3], [2], [1]] * 2)
    long = [torch.arange(subject.tokens) >= lengths] * len(latents)
    short = backbone([x[:, :3] for x in values], [gone[:, :3] for gone in long])
    same = all(map(_close, backbone(values, long), short))
    _require(same, "the same samples padded to 5 and to 3 tokens give different outputs.")

    nothing = [None, *[torch.zeros_like(mask)] * (len(latents) - 1)]
    same = all(map(_close, backbone(values, nothing), backbone(values)))
    _require(same, "masks without padding and no masks give different outputs.")

    for value in values:
        value.requires_grad_()
    output, auxiliary = backbone.train()(values, masks)
    wanted = [*values, *(p for p in backbone.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(output.sum() + auxiliary, wanted, allow_unused=True)
    finite = all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    _require(finite, "gradients are not finite where a sample is padding alone.")


@check(*_OWN)
def _trains_as_I2MoE(subject: Subject) -> None:
    """After two steps of M+2 experts the loss is finite, and every expert has learned.

    Mend what else failed; then try i2moe_plugin.I2MoE on latents of your own.
    """
    latents = subject.latents()
    model = create_model(
        "i2moe",
        [nn.Identity() for _ in latents],
        latents,
        lambda: subject.build(latents),
        Classification(subject.outputs),
        reweighting_hidden=8,
    ).train()
    assert isinstance(model, I2MoE)
    experts = [[p for p in expert.parameters() if p.requires_grad] for expert in model.bank.experts]
    before = copy.deepcopy(experts)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(2):
        target = torch.arange(subject.batch) % subject.outputs
        losses = model.losses(model(subject.draw(latents)), target)
        _require(bool(losses.total.isfinite()), "the loss is not finite.")
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    for name, new, old in zip(model.expert_names, experts, before, strict=True):
        learned = any((a != b).any() for a, b in zip(new, old, strict=True))
        _require(learned or not new, f"the expert {name} does not learn.")
    prediction = model.eval()(subject.draw(latents)).prediction
    _require(bool(prediction.isfinite().all()), "after two steps the prediction is not finite.")
