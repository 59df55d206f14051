from __future__ import annotations

import copy
import pickle
import re
import weakref

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import (
    BackboneError,
    ConfigError,
    ExpertBank,
    LatentSpec,
    ShapeError,
    create_backbone,
)
from i2moe_plugin.execution import rule
from i2moe_plugin.execution.rule import saved_bytes


class Probe(nn.Module):
    """A backbone that keeps what it was called with; auxiliary loss = mean of its output."""

    def __init__(self, dims=(2, 3), outputs=4):
        super().__init__()
        self.linear = nn.Linear(sum(dims), outputs)
        self.seen = []

    def forward(self, latents, padding_masks=None):
        self.seen.append((latents, padding_masks))
        output = self.linear(torch.cat(latents, 1))
        return output, output.mean()


def replacements(experts, latents):
    return [torch.randn(experts, *latent.shape) for latent in latents]


def test_copies_are_identical_at_first_and_independent_ever_after():
    """D1, M1: upstream's experts share what was never registered."""
    built = []
    bank = ExpertBank(lambda: built.append(Probe()) or built[-1], 5)
    assert len(built) == 1
    assert len(bank.experts) == 5
    states = [expert.state_dict() for expert in bank.experts]
    for state in states[1:]:
        assert all(torch.equal(state[key], states[0][key]) for key in states[0])
    places = [p.data_ptr() for p in bank.parameters()]
    assert len(set(places)) == len(places) == 10
    with torch.no_grad():
        bank.experts[2].linear.weight.add_(1)
    for index in (0, 1, 3, 4):
        assert torch.equal(bank.experts[index].linear.weight, bank.experts[0].linear.weight)
        assert not torch.equal(bank.experts[index].linear.weight, bank.experts[2].linear.weight)


def test_independent_experts_differ_from_the_start():
    bank = ExpertBank(Probe, 4, "independent")
    weights = [expert.linear.weight for expert in bank.experts]
    for i, one in enumerate(weights):
        assert all(not torch.equal(one, other) for other in weights[i + 1 :])


def test_every_experts_parameters_are_registered_and_travel():
    bank, other = ExpertBank(Probe, 3, "independent"), ExpertBank(Probe, 3)
    assert len(list(bank.parameters())) == 6
    other.load_state_dict(bank.state_dict())
    latents = [torch.randn(6, 2), torch.randn(6, 3)]
    assert torch.equal(bank(latents)[0], other(latents)[0])


def test_outputs_and_auxiliary_are_those_of_a_plain_loop():
    experts, latents = 4, [torch.randn(6, 2), torch.randn(6, 3)]
    bank, new = ExpertBank(Probe, experts, "independent"), replacements(experts, latents)
    outputs, auxiliary = bank(latents, new)
    assert outputs.shape == (4, 3, 6, 4)
    terms = []
    for e, expert in enumerate(bank.experts):
        views = [latents, [new[0][e], latents[1]], [latents[0], new[1][e]]]
        for v, view in enumerate(views):
            expected = expert.linear(torch.cat(view, 1))
            assert_close(outputs[e, v], expected)
            terms.append(expected.mean())
    assert_close(auxiliary, torch.stack(terms).mean())


def test_without_replacements_only_the_complete_view_is_computed():
    bank = ExpertBank(Probe, 3, plan="batched")
    latents = [torch.randn(6, 2), torch.randn(6, 3)]
    bank.settle(latents)
    outputs, _ = bank(latents)
    assert outputs.shape == (3, 1, 6, 4)
    assert [len(expert.seen) for expert in bank.experts] == [1, 1, 1]
    assert_close(outputs[:, 0], bank(latents, replacements(3, latents))[0][:, 0])


def test_padding_masks_reach_every_view_and_inputs_stay_apart():
    bank = ExpertBank(Probe, 2, plan="loop")
    latents, masks = [torch.randn(6, 2), torch.randn(6, 3)], [None, torch.zeros(6, 3).bool()]
    bank(latents, replacements(2, latents), masks)
    for expert in bank.experts:
        assert len(expert.seen) == 3
        assert all(seen_masks is masks for _, seen_masks in expert.seen)
        # A list of its own for each view: a fusion that empties its list harms no other.
        assert len({id(seen) for seen, _ in expert.seen} | {id(latents)}) == 4


def test_replacements_that_do_not_match_are_refused():
    bank = ExpertBank(Probe, 2)
    latents = [torch.randn(6, 2), torch.randn(6, 3)]
    with pytest.raises(ShapeError, match=r"modality 2 are \[2, 6, 2\]; expected \[2, 6, 3\]"):
        bank(latents, [torch.zeros(2, 6, 2)] * 2)
    with pytest.raises(ShapeError, match=r"modality 1 are \[3, 6, 2\]; expected \[2, 6, 2\]"):
        bank(latents, replacements(3, latents))
    with pytest.raises(ShapeError, match="1 replacements for 2 latents"):
        bank(latents, replacements(2, latents[:1]))


def test_m3_a_module_that_cannot_be_copied_is_named():
    """M3, D1: a module that keeps a computed tensor cannot be deep-copied."""

    class Keeps(Probe):
        def __init__(self):
            super().__init__()
            self.kept = self.linear.weight * 2

    with pytest.raises(BackboneError, match=r"deep-copied.*expert_init=independent"):
        ExpertBank(Keeps, 3)
    assert len(ExpertBank(Keeps, 3, "independent").experts) == 3


def test_a_factory_that_builds_only_one_is_refused():
    """Its experts would be one and the same."""
    one = Probe()
    with pytest.raises(BackboneError, match="same backbone twice"):
        ExpertBank(lambda: one, 3, "independent")


def test_an_unknown_init_is_refused():
    with pytest.raises(ConfigError, match="copies or independent, not 'copy'"):
        ExpertBank(Probe, 3, "copy")
    with pytest.raises(ConfigError, match=r"plan is one of auto, .*, not 'fast'"):
        ExpertBank(Probe, 3, plan="fast")


class Mixing(nn.Module):
    """Looks at the batch's mean."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, latents, padding_masks=None):
        x = torch.cat(latents, 1)
        return self.linear(x - x.mean(0)), x.new_zeros(())


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))

    def forward(self, latents, padding_masks=None):
        x = torch.cat(latents, 1)
        return self.layers(x), x.new_zeros(())


class Plain(Probe):
    def forward(self, latents, padding_masks=None):
        output = self.linear(torch.cat(latents, 1))
        return output, output.mean()


class Judging(Plain):
    """Its auxiliary loss depends on the whole batch."""

    def forward(self, latents, padding_masks=None):
        output, _ = super().forward(latents, padding_masks)
        return output, output.mean().square()


class Fixed(Plain):
    """Takes six samples and no other number."""

    def forward(self, latents, padding_masks=None):
        assert len(latents[0]) == 6
        return super().forward(latents, padding_masks)


class Recurrent(nn.Module):
    """A layer that vmap has no rule for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(5, 4, batch_first=True)

    def forward(self, latents, padding_masks=None):
        x = torch.cat(latents, 1)
        return self.layer(x.unsqueeze(1))[0][:, 0], x.new_zeros(())


class Keeping(Plain):
    """Holds on to what it computed."""

    def forward(self, latents, padding_masks=None):
        output, auxiliary = super().forward(latents, padding_masks)
        self.kept = {"last": [output]}
        return output, auxiliary


class Counting(Plain):
    """In training it keeps a running mean over batches, and subtracts it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, latents, padding_masks=None):
        output, auxiliary = super().forward(latents, padding_masks)
        if self.training:
            self.mean += 0.1 * (output.detach().mean(0) - self.mean)
        return output - self.mean, auxiliary


class Noisy(Plain):
    """Draws noise in training without a dropout layer."""

    def forward(self, latents, padding_masks=None):
        noise = 0.1 * torch.rand_like(latents[0]) if self.training else 0
        return super().forward([latents[0] + noise, latents[1]], padding_masks)


@pytest.mark.parametrize(
    ("module", "plan", "views", "refused"),
    [
        (Plain, "stacked", "batched", {}),
        (Noisy, "stacked", "batched", {}),
        (Mixing, "stacked", "mapped", {}),
        (Judging, "stacked", "mapped", {}),
        (Fixed, "stacked", "mapped", {}),
        (Normed, "loop", "loop", {"stacked": "batch statistics", "batched": "batch statistics"}),
        (Recurrent, "batched", "batched", {"stacked": "[Bb]atching rule"}),
        (Keeping, "batched", "batched", {"stacked": "keeps tensors"}),
        (Counting, "loop", "loop", {"stacked": "state", "batched": "state"}),
    ],
)
def test_auto_takes_a_plan_that_fits_the_backbone(module, plan, views, refused):
    bank = ExpertBank(module, 4)
    latents = [torch.randn(6, 2), torch.randn(6, 3)]
    new = replacements(4, latents)
    before, state = copy.deepcopy(bank.state_dict()), torch.random.get_rng_state()
    report = bank.settle(latents)
    assert (report.plan, report.views) == (plan, views)
    assert report.refused.keys() == refused.keys()
    for name, words in refused.items():
        assert re.search(words, report.refused[name])
    # Finding out changes neither mode, nor weights, nor the noise to come.
    assert bank.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in bank.state_dict().items())
    loop = ExpertBank(module, 4, plan="loop")
    loop.load_state_dict(bank.state_dict())
    for x, y in zip(bank.eval()(latents, new), loop.eval()(latents, new), strict=True):
        assert_close(x, y)
    assert_close(bank(latents)[0], loop(latents)[0])


def test_a_plan_that_was_asked_for_and_is_not_valid_is_refused():
    latents = [torch.randn(6, 2), torch.randn(6, 3)]
    for module, plan, reason in (
        (Normed, "batched", "batch statistics"),
        (Mixing, "batched", "see each other"),
        (Recurrent, "stacked", "[Bb]atching rule"),
        (Plain, "shared", "what its views have in common"),
    ):
        with pytest.raises(ConfigError, match=f"plan={plan} is not valid.*{reason}"):
            ExpertBank(module, 4, plan=plan)(latents, replacements(4, latents))


@pytest.mark.parametrize("name", ["concat", "lrtf", "transformer"])
def test_plans_give_the_same_outputs_and_gradients(name):
    tokens = name == "transformer"
    specs = [LatentSpec(8, tokens=t if tokens else None) for t in (3, 2, 4)]
    settings = {"dropout": 0.0} if tokens else {}
    reference = ExpertBank(
        lambda: create_backbone(name, specs, 5, **settings), 5, "independent", plan="loop"
    ).double()
    other = copy.deepcopy(reference)
    other.plan = "batched"
    latents = [torch.randn(7, *spec.shape, dtype=torch.float64) for spec in specs]
    new = [x.double() for x in replacements(5, latents)]
    masks = [torch.arange(x.shape[1]).expand(7, -1) > 1 if tokens else None for x in latents]
    results = []
    for bank in (reference, other):
        inputs = [x.clone().requires_grad_() for x in latents]
        outputs, _ = bank(inputs, new, masks if tokens else None)
        outputs.square().sum().backward()
        gradients = [x.grad for x in inputs] + [p.grad for p in bank.parameters()]
        results.append([outputs, *gradients])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_what_was_kept_for_a_backward_pass_is_freed_once_it_is_counted():
    """A softmax keeps its own output, which would hold the graph that holds it."""
    seen = []

    class Softmax(nn.Linear):
        def forward(self, latents, padding_masks=None):
            result = super().forward(latents[0]).softmax(-1)
            seen.append(weakref.ref(result))
            return result

    assert saved_bytes(Softmax(8, 8), [torch.randn(4, 8)], None) > 0
    assert [result() for result in seen] == [None]


@pytest.mark.parametrize("plan", ["loop", "batched", "shared"])
@pytest.mark.parametrize("views", [0, 1, 2, 3])
def test_a_memory_budget_recomputes_and_gives_the_same_numbers(plan, views):
    """Also the same noise: what is drawn is drawn again."""
    specs = [LatentSpec(8), LatentSpec(6)]
    settings = {"dropout": 0.5, "hidden_dim": 16}
    bank = ExpertBank(lambda: create_backbone("lf", specs, 3, **settings), 4, plan=plan)
    latents = [torch.randn(300, spec.dim) for spec in specs]
    new = replacements(4, latents)
    results = []
    for limited in (False, True):
        bank.report = None
        if limited:
            one = saved_bytes(bank.experts[0], latents, None)
            bank.memory_budget = max(one * views, 1)
        report = bank.settle(latents)
        torch.manual_seed(0)
        bank.zero_grad()
        inputs = [x.clone().requires_grad_() for x in latents]
        outputs, _ = bank(inputs, new)
        outputs.square().sum().backward()
        results.append([outputs, *(x.grad for x in inputs), *(p.grad for p in bank.parameters())])
    assert report.chunk == (1 if plan == "loop" else max(views, 1))
    assert "MB" in report.reason
    if plan == "loop" or views == 3:  # otherwise noise is drawn for other groups of views
        for one, two in zip(*results, strict=True):
            assert_close(one, two)


def test_a_budget_that_is_enough_changes_nothing():
    bank = ExpertBank(Plain, 4, plan="batched", memory_budget=10_000_000)
    assert bank.settle([torch.randn(6, 2), torch.randn(6, 3)]).chunk == 0
    with pytest.raises(ConfigError, match="memory_budget must be positive"):
        ExpertBank(Plain, 4, memory_budget=0)


@pytest.mark.parametrize("change", ["none", "double", "deepcopy", "load", "pickle"])
def test_stacked_parameters_stay_the_experts_own(change):
    """One optimizer step after each of these moves every expert as the loop does."""
    latents = [torch.randn(6, 2, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)]
    new = [torch.randn(4, *x.shape, dtype=torch.float64) for x in latents]
    start = ExpertBank(Plain, 4, "independent", plan="loop").double()
    ends = []
    for plan in ("loop", "stacked"):
        bank = copy.deepcopy(start)
        bank.plan = plan
        bank(latents, new)
        if change == "double":
            bank = bank.float().double()
        elif change == "deepcopy":
            bank = copy.deepcopy(bank)
        elif change == "load":
            bank.load_state_dict(copy.deepcopy(bank.state_dict()), assign=True)
        elif change == "pickle":
            bank = pickle.loads(pickle.dumps(bank))
        optimizer = torch.optim.Adam(bank.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            outputs, auxiliary = bank(latents, new)
            (outputs.sin().sum() + auxiliary).backward()
            optimizer.step()
        assert list(bank.state_dict()) == list(start.state_dict())
        ends.append([parameter.detach() for parameter in bank.parameters()])
    for loop, stacked in zip(*ends, strict=True):
        assert_close(loop, stacked, rtol=1e-5, atol=1e-5)


class Switched(nn.Module):
    """Looks at the batch's mean, or does not: a setting decides, and no shape."""

    def __init__(self, mixes):
        super().__init__()
        self.mixes = mixes
        self.linear = nn.Linear(5, 4)

    def forward(self, latents, padding_masks=None):
        x = torch.cat(latents, 1)
        return self.linear(x - x.mean(0) * self.mixes), x.new_zeros(())


@pytest.fixture
def trials(monkeypatch):
    """How many comparisons of plans were made, by one that forgets what was found before."""
    made = []
    real = rule._Trial.__init__
    monkeypatch.setattr(rule, "_found", {})
    monkeypatch.setattr(
        rule._Trial, "__init__", lambda self, *args: (made.append(1), real(self, *args))[1]
    )
    return made


def views_of(module, rows=6, widths=(2, 3), **options):
    bank = ExpertBank(module, 4, **options)
    return bank.settle([torch.randn(rows, width) for width in widths]).views


def test_plans_are_compared_once_for_a_structure(trials):
    for seed in range(3):  # other weights and other latents: the same structure
        torch.manual_seed(seed)
        assert views_of(Plain) == "batched"
    assert len(trials) == 1
    assert views_of(lambda: Switched(False)) == "batched"
    assert views_of(lambda: Switched(True)) == "mapped"
    assert views_of(lambda: Switched(False)) == "batched"
    assert len(trials) == 3
    views_of(Plain, rows=2)
    views_of(lambda: Plain(outputs=5))
    views_of(Plain, plan="batched")
    assert len(trials) == 6
    views_of(Plain, rows=6)
    assert len(trials) == 6


def test_what_cannot_be_told_apart_is_compared_each_time(trials):
    """An attribute of an unknown class, or a function made on the spot, may behave in any way."""

    class Strange(Plain):
        def __init__(self):
            super().__init__()
            self.odd = object()

    for _ in range(2):
        views_of(Strange)
    for _ in range(2):
        bank = ExpertBank(Plain, 4)
        bank.experts[0].scale = lambda x: x
        bank.settle([torch.randn(6, 2), torch.randn(6, 3)])
    assert len(trials) == 4
    assert not rule._found


def test_what_fails_in_training_alone_is_not_taken():
    class Filling(Plain):
        """Fills a tensor of its own with noise: vmap refuses that, in training only."""

        def forward(self, latents, padding_masks=None):
            if self.training:
                latents = [latents[0] + 0.1 * torch.empty(2).normal_(), latents[1]]
            return super().forward(latents, padding_masks)

    latents = [torch.randn(6, 2), torch.randn(6, 3)]
    bank = ExpertBank(Filling, 4)
    assert bank.settle(latents).plan == "batched"
    assert "randomness" in bank.report.refused["stacked"]
    bank(latents, replacements(4, latents))
