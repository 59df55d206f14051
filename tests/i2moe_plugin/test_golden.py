"""The official ensemble's recorded outputs, given its parameters, latents and noise."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import (
    Classification,
    LatentSpec,
    MLPReweighting,
    Regression,
    create_backbone,
    create_model,
    interaction_losses,
)
from i2moe_plugin.interactions.masking import Masking

CASES = [f"imoe_{task}_{m}" for task in ("classification", "regression") for m in (2, 3, 4)]
close = partial(assert_close, rtol=1e-4, atol=1e-5)


class RecordedNoise(Masking):
    """Replaces with what was recorded: noise [E, M, B, D]."""

    def __init__(self, noise):
        super().__init__([])
        self.noise = noise

    def replacement(self, latent, modality, copies):
        assert self.noise.shape[0] == copies
        return self.noise[:, modality]


def load_linears(module, arrays, prefix):
    """The recorded linear layers, in order, into those of a module."""
    names = sorted({key.rsplit(".", 1)[0] for key in arrays if key.startswith(prefix)})
    linears = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert len(names) == len(linears)
    with torch.no_grad():
        for name, linear in zip(names, linears, strict=True):
            linear.weight.copy_(arrays[f"{name}.weight"])
            linear.bias.copy_(arrays[f"{name}.bias"])


def recorded_model(facts, arrays):
    modalities, regression = facts["modalities"], facts["task"] == "regression"
    latents = [LatentSpec(arrays[f"latent_{m}"].shape[1]) for m in range(modalities)]
    model = create_model(
        "i2moe",
        [nn.Identity() for _ in latents],
        latents,
        lambda: create_backbone("concat", latents, facts["outputs"], head_hidden=8),
        Regression(1) if regression else Classification(facts["outputs"]),
        interaction_loss="regression-released" if regression else None,
        reweighting_hidden=10,
        reweighting_layers=facts["reweight_layers"],
        temperature=facts["temperature"],
    )
    for index, expert in enumerate(model.bank.experts):
        load_linears(expert, arrays, f"expert/{index}.")
    load_linears(model.reweighting, arrays, "reweight/")
    model.masking = RecordedNoise(arrays["noise"])
    model.train()
    model.reweighting.eval()  # recorded without dropout
    return model


@pytest.mark.parametrize("case", CASES)
def test_the_model_gives_the_recorded_ensemble(golden, case):
    facts, arrays = golden(case)
    model = recorded_model(facts, arrays)
    inputs = [arrays[f"latent_{m}"].requires_grad_() for m in range(facts["modalities"])]
    output = model(inputs)
    close(output.outputs, arrays["expert_outputs"])
    close(output.weights, arrays["weights"])
    close(output.prediction, arrays["prediction"])
    target = torch.zeros(len(output.prediction))
    losses = model.losses(output, target)
    close(losses.interaction, arrays["interaction_losses"])
    gradients = torch.autograd.grad(losses.interaction.mean(), inputs)
    for m, gradient in enumerate(gradients):
        close(gradient, arrays[f"grad_latent_{m}"])
    close(losses.total, losses.task + 0.5 * arrays["interaction_losses"].mean())


@pytest.mark.parametrize("case", CASES)
def test_inference_gives_the_recorded_prediction_from_the_complete_view_alone(golden, case):
    facts, arrays = golden(case)
    model = recorded_model(facts, arrays).eval()
    output = model([arrays[f"latent_{m}"] for m in range(facts["modalities"])])
    close(output.outputs, arrays["expert_outputs"][:, :1])
    close(output.prediction, arrays["prediction"])


@pytest.mark.parametrize("case", [case for case in CASES if "regression" in case])
def test_the_recorded_regression_losses_are_the_released_ones_only(golden, case):
    """D7: the released synergy loss is the redundancy loss; ours by default is not."""
    _, arrays = golden(case)
    outputs, recorded = arrays["expert_outputs"], arrays["interaction_losses"]
    close(interaction_losses(outputs, "regression-released"), recorded)
    corrected = interaction_losses(outputs, "regression")
    assert (corrected[:-1] - recorded[:-1]).abs().min() > 1e-3
    close(corrected[-1], recorded[-1])  # redundancy was right


def test_temperature_divides_the_logits(golden):
    facts, arrays = golden("imoe_classification_3")
    latents = [arrays[f"latent_{m}"] for m in range(3)]
    weights = {}
    for temperature in (facts["temperature"], 1.0):
        mlp = MLPReweighting([6] * 3, 5, hidden_dim=10, temperature=temperature).eval()
        load_linears(mlp, arrays, "reweight/")
        weights[temperature] = mlp(latents)
    close(weights[facts["temperature"]], arrays["weights"])
    sharpened = arrays["weights"] ** facts["temperature"]
    close(weights[1.0], sharpened / sharpened.sum(1, keepdim=True))
