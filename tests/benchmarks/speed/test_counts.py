"""The gate on what a step costs, in figures that do not depend on the machine or its load."""

from __future__ import annotations

import pytest
import torch

from i2moe_plugin.benchmarks.speed.counting import count
from i2moe_plugin.benchmarks.speed.models import Shape, build
from i2moe_plugin.execution.plans import shares
from i2moe_plugin.tasks import Classification

TOKENS = {"transformer": 4}


def step_of(backbone, modalities, variant, batch=8):
    shape = Shape("small", backbone, modalities, TOKENS.get(backbone), 16, 3)
    return build(shape, variant, batch=batch)


def counts_of(backbone, modalities, variant):
    return count(step_of(backbone, modalities, variant).step)


@pytest.mark.parametrize("backbone", ["transformer", "lrtf"])
def test_operators_of_a_stacked_step_do_not_follow_experts_and_views(backbone):
    """One more modality costs what it costs vanilla, and a few to mask and weigh it."""
    stacked = {m: counts_of(backbone, m, "stacked").operators for m in (2, 3, 4, 6)}
    vanilla = {m: counts_of(backbone, m, "vanilla").operators for m in (2, 3, 4, 6)}
    naive = {m: counts_of(backbone, m, "naive").operators for m in (2, 4)}
    more = (stacked[6] - stacked[2]) / 4
    assert more <= 30 + (vanilla[6] - vanilla[2]) / 4
    assert naive[4] - naive[2] > 10 * (stacked[4] - stacked[2])
    assert all(stacked[m] <= 3 * vanilla[m] for m in stacked)


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_shared_plans_encode_2m_times(modalities):
    """2M of the loop's M(M+1) encodings an expert: the multiplications of the factors alone."""
    shape = Shape("small", "lrtf", modalities, None, 16, 3, {"rank": 4, "output_dim": 8})
    flops = {}
    for variant in ("loop", "shared", "stacked"):
        subject = build(shape, variant, batch=8)
        new = [torch.randn(modalities + 2, *x.shape) for x in subject.latents]
        bank = subject.model.bank

        def only_encodings(bank=bank, new=new, subject=subject):
            for expert in bank.experts:
                expert.fusion.combine = lambda parts: parts[0][0][:, :8]
            with torch.no_grad():
                bank(subject.latents, new)

        flops[variant] = count(only_encodings).flops
    loop, shared, stacked = (flops[name] for name in ("loop", "shared", "stacked"))
    # The head sees every view in every plan; what is left are the encodings.
    head = 2 * 8 * (8 * 128 + 128 * 3) * (modalities + 2) * (modalities + 1)
    assert (shared - head) * modalities * (modalities + 1) == (loop - head) * 2 * modalities
    assert stacked == shared


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_a_transformers_first_projections_are_made_once_a_tensor(modalities):
    """Queries, keys and values of 2M clean and masked modalities an expert, not of M(M+1)."""
    flops, batch, tokens, width = {}, 8, TOKENS["transformer"], 16
    for variant in ("loop", "shared"):
        subject = step_of("transformer", modalities, variant, batch)
        bank = subject.model.bank
        new = [torch.randn(modalities + 2, *x.shape) for x in subject.latents]
        with torch.no_grad():
            flops[variant] = count(lambda bank=bank, s=subject, new=new: bank(s.latents, new)).flops
    spared = (modalities * (modalities + 1) - 2 * modalities) * (modalities + 2)
    assert flops["loop"] - flops["shared"] == spared * batch * tokens * 2 * 3 * width**2


@pytest.mark.parametrize("backbone", ["concat", "lrtf", "transformer"])
def test_no_plan_computes_more_than_the_loop(backbone):
    loop = counts_of(backbone, 3, "loop").flops
    subject = step_of(backbone, 3, "loop")
    plans = ["batched", "stacked", *["shared"] * shares(subject.model.bank.experts[0])]
    for plan in plans:
        allowed = 1.0 if plan != "batched" else 1.1  # first-layer gradients of replaced latents
        assert counts_of(backbone, 3, plan).flops <= allowed * loop, plan


@pytest.mark.parametrize("variant", ["vanilla", "loop", "batched", "stacked"])
@pytest.mark.parametrize("backbone", ["lrtf", "transformer"])
def test_a_step_never_waits_for_a_device(backbone, variant, monkeypatch):
    """No value is read on the host, and no shape depends on one: what a CUDA graph asks too."""
    # Labels are looked at on a CPU only.
    monkeypatch.setattr(Classification, "prepare", lambda self, target: target)
    assert counts_of(backbone, 3, variant).waits == []


def test_what_waits_is_seen():
    x = torch.randn(5)
    assert count(lambda: x[x > 0]).waits == ["index"]
    assert count(lambda: x.sum().item()).waits == ["_local_scalar_dense"]
    assert count(lambda: x[:2].view(2, 1).t()).operators == 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("variant", ["loop", "batched", "stacked"])
def test_a_step_on_a_gpu_makes_no_synchronisation(variant):
    subject = build(Shape("small", "lrtf", 3, None, 16, 3), variant, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        subject.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
