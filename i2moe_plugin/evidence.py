"""The model of the ``evidence`` method: experts that see what they are named after, and no more.

A *unimodal* expert sees one modality; a learned constant stands for each of the others, so that
nothing of them can leak. It has an output for each set of modalities that it belongs to, and the
sum of a set's experts is the additive model of that set: one that cannot hold an interaction. A
*joint* expert sees everything. All are trained for the task alone, and the parts of a prediction
are made of them afterwards, see :mod:`i2moe_plugin.interactions.evidence`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.execution.bank import ExpertBank
from i2moe_plugin.execution.plans import Masks
from i2moe_plugin.execution.rule import Plan, PlanReport
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.interactions.evidence import both_priors, calibrated_losses
from i2moe_plugin.interactions.fitted import Fitted, Members
from i2moe_plugin.interactions.masking import Masking
from i2moe_plugin.multimodal import Losses, ModelOutput, MultimodalModel, in_full
from i2moe_plugin.tasks import Classification, SignClassification, Task

#: Deviation of the learned constants at the start. At zero, a fusion that multiplies would give
#: them no gradient.
CONSTANT = 0.02


class Evidence(MultimodalModel):
    """Unimodal banks and joint experts, each with encoders of its own.

    Args:
        encoders: M modules, see :class:`~i2moe_plugin.multimodal.MultimodalModel`; the first joint
            expert's.
        latents: the shapes of the latents.
        factory: builds one backbone with as many outputs as ``num_outputs`` says.
        task: what is predicted.
        new_encoders: builds M further encoders.
        copies: unimodal banks.
        joint: joint experts.
        auxiliary_weight: weight of the backbones' own losses.
        plan, memory_budget: see :class:`~i2moe_plugin.execution.bank.ExpertBank`.

    Outputs of experts [models, 1, B, C] are in the order of
    :class:`~i2moe_plugin.interactions.fitted.Members`. Until :meth:`fit_evidence` has been called,
    the prediction is the mean of the joint experts; from then on, outside training, it is the
    calibrated one, which the parts sum to.

    Raises:
        ConfigError: fewer than 2 modalities or more than 8, no copies, or a factory that builds
            backbones of one width alone.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from i2moe_plugin import Classification, LatentSpec, create_backbone, create_model
        >>> latents = [LatentSpec(4), LatentSpec(6)]
        >>> model = create_model(
        ...     "evidence",
        ...     [nn.Linear(3, 4), nn.Linear(5, 6)],
        ...     latents,
        ...     lambda num_outputs=2: create_backbone("concat", latents, num_outputs),
        ...     Classification(2),
        ... )
        >>> output = model([torch.randn(8, 3), torch.randn(8, 5)])
        >>> output.outputs.shape, output.prediction.shape
        (torch.Size([8, 1, 8, 2]), torch.Size([8, 2]))
    """

    _sums: Tensor
    _totals: Tensor
    _seen: Tensor

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        latents: Sequence[LatentSpec],
        factory: Callable[..., nn.Module],
        task: Task,
        *,
        new_encoders: Callable[[], Sequence[nn.Module]],
        copies: int = 2,
        joint: int = 2,
        auxiliary_weight: float = 0.01,
        plan: Plan = "auto",
        memory_budget: int | None = None,
    ) -> None:
        super().__init__(encoders, latents, task, auxiliary_weight=auxiliary_weight)
        modalities, width = len(encoders), task.num_outputs
        self.members = Members(modalities, copies, joint)
        if "num_outputs" not in inspect.signature(factory).parameters:
            raise ConfigError(
                "the evidence method builds backbones of several widths: give a factory that takes "
                "num_outputs, such as lambda num_outputs: create_backbone(name, latents, "
                "num_outputs)."
            )
        more = [new_encoders() for _ in range(joint - 1 + copies)]
        sets = [nn.ModuleList(one) for one in more]
        self.joint_encoders = nn.ModuleList(sets[: joint - 1])
        self.unimodal_encoders = nn.ModuleList(sets[joint - 1 :])
        groups = 2 ** (modalities - 1)
        options: dict[str, Any] = {"plan": plan, "memory_budget": memory_budget}
        self.joint = ExpertBank(lambda: factory(num_outputs=width), joint, "independent", **options)
        self.unimodal = ExpertBank(
            lambda: factory(num_outputs=width * groups),
            copies * modalities,
            "independent",
            **options,
        )
        #: For each modality [experts, D]: what stands for it before each unimodal expert.
        self.constants = nn.ParameterList(
            nn.Parameter(CONSTANT * torch.randn(copies * modalities, spec.dim))
            for spec in self.latents
        )
        self._one_token = _takes_one_token(self.unimodal.experts[0], self.latents)
        self.register_buffer("_sums", _sums(modalities), persistent=False)
        self.register_buffer("_totals", torch.zeros(width))
        self.register_buffer("_seen", torch.zeros(()))
        self._epoch: int | None = None
        self._fitted: Fitted | None = None

    @property
    def fitted(self) -> Fitted | None:
        """The calibrations; None before :meth:`fit_evidence`."""
        return self._fitted

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def forward(self, inputs: Sequence[Any], absent: Sequence[int] = ()) -> ModelOutput:
        """Compute the output of M inputs.

        Args:
            inputs: M batches.
            absent: the modalities (0-based) that are absent from this batch: the prediction is then
                the additive model's of the others, which has never seen them.
        """
        if any(isinstance(x, Incomplete) for x in inputs):
            raise ConfigError(
                "the evidence method takes no samples that lack modalities: its parts compare "
                "models of sets of modalities on the same samples. Leave those samples out, or "
                "take another method."
            )
        if absent:
            return self._forward_without(inputs, absent)
        unimodal, auxiliary = self._run_unimodal(inputs, range(len(self.latents)))
        every = [self.encoders, *self.joint_encoders]
        encoded = [self.encode(inputs, encoders=cast(nn.ModuleList, each)) for each in every]
        masks = [each.padding_masks for each in encoded]
        joint, of_joint = self.joint.forward_each([each.latents for each in encoded], masks)
        outputs = torch.cat([unimodal, joint])
        prediction = joint.mean(0)
        if not self.training and self._fitted is not None:
            prediction = self._concluded(self._fitted.predict(_numbers(outputs)), prediction)
        return ModelOutput(prediction, auxiliary + of_joint.sum(), outputs[:, None])

    def fill_absent_by(self, masking: Masking | None) -> None:
        if masking is not None:
            raise ConfigError(
                "the evidence method predicts without a modality by its models of the others: "
                "nothing stands for it that could be chosen."
            )

    def losses(self, output: ModelOutput, target: Tensor) -> Losses:
        """Compute the sum of all models' task losses, in which no two models share a parameter."""
        prepared = self.task.prepare(target)
        if self.training and self._epoch in (None, 1):
            self._count(prepared)
        with torch.no_grad():
            task = self.task.loss(in_full(output.prediction), prepared)
        auxiliary = in_full(output.auxiliary)
        if output.outputs is None:  # modalities were absent
            return super().losses(output, target)
        total = self.task.loss(*self._side_by_side(in_full(output.outputs[:, 0]), prepared))
        total = total * len(output.outputs) + self.auxiliary_weight * auxiliary
        return Losses(total, task, None, auxiliary)

    def fit_evidence(self, outputs: Any, target: Any) -> Fitted:
        """Calibrate on validation data; the trainer calls it once the best weights are in place.

        Args:
            outputs: [N, models, C].
            target: [N] or [N, C].

        Raises:
            ConfigError: no validation data, or the model has not been trained.
        """
        if not self._seen:
            raise ConfigError("the evidence network has not been trained: it has seen no targets.")
        totals = self._totals.double().cpu().numpy()
        truth = self.task.truth(np.asarray(target))
        self._fitted = Fitted.fit(
            self.members, self.task, np.asarray(outputs), truth, totals, float(self._seen)
        )
        return self._fitted

    @property
    def separate_parts(self) -> Mapping[str, tuple[str, ...]]:
        unimodal = ("unimodal.", "unimodal_encoders.", "constants.")
        return {"unimodal": unimodal, "joint": ()}

    def separate_losses(self, outputs: Any, target: Any) -> dict[str, float]:
        split = self.members.copies * len(self.members.sets)
        priors = both_priors(self.task, self._totals.double().cpu().numpy(), float(self._seen))
        truth = self.task.truth(np.asarray(target))
        losses = calibrated_losses(self.task, np.asarray(outputs), truth, *priors)
        return {"unimodal": float(losses[:split].mean()), "joint": float(losses[split:].mean())}

    def conclude(self, outputs: Any, target: Any) -> None:
        self.fit_evidence(outputs, target)

    def conclude_training(self, outputs: Any, target: Any) -> None:
        if self._fitted is not None:
            truth = self.task.truth(np.asarray(target))
            self._fitted = self._fitted.with_training(np.asarray(outputs), truth)

    @property
    def every_encoder(self) -> Sequence[nn.Module]:
        return [self.encoders, self.joint_encoders, self.unimodal_encoders]

    @property
    def plan(self) -> dict[str, Any] | None:
        reports = {"unimodal": self.unimodal.report, "joint": self.joint.report}
        found = {name: asdict(report) for name, report in reports.items() if report is not None}
        return found or None

    @plan.setter
    def plan(self, record: dict[str, Any] | None) -> None:
        for name, bank in (("unimodal", self.unimodal), ("joint", self.joint)):
            kept = (record or {}).get(name)
            bank.report = None if kept is None else PlanReport(**kept)

    def get_extra_state(self) -> Tensor:
        """The calibrations' numbers: none before they are fitted."""
        found = np.zeros(0) if self._fitted is None else self._fitted.numbers()
        return torch.from_numpy(found)

    def set_extra_state(self, state: Any) -> None:
        """Take the numbers of :meth:`get_extra_state`."""
        numbers = torch.as_tensor(state).cpu().numpy()
        empty = not len(numbers)
        self._fitted = None if empty else Fitted.of_numbers(self.members, self.task, numbers)

    def _run_unimodal(self, inputs: Sequence[Any], present: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Run the unimodal experts of these modalities.

        Returns:
            outputs [copies * sets, B, C], those of sets with other modalities incomplete; the sum
            of auxiliary losses.
        """
        rows: list[list[Tensor]] = []
        masks: list[Masks] = []
        places = []
        for bank, encoders in enumerate(self.unimodal_encoders):
            for modality in present:
                place = bank * len(self.latents) + modality
                encoder = cast(nn.ModuleList, encoders)[modality]
                latent, mask = self.encode_modality(encoder, modality, inputs[modality])
                row = [
                    latent if other == modality else self._constant(other, place)
                    for other in range(len(self.latents))
                ]
                rows.append([x.to(latent.dtype) for x in row])
                own: list[Tensor | None] = [None] * len(self.latents)
                own[modality] = mask
                masks.append(own if mask is not None else None)
                places.append(place)
        outputs, auxiliary = self.unimodal.forward_each(rows, masks, places)
        shape = (self.members.copies, len(present), outputs.shape[1], -1, self.task.num_outputs)
        # Rows one by one: a list as an index would be copied to the device at every step.
        sums = torch.stack([self._sums[modality] for modality in present]).to(outputs.dtype)
        summed = torch.einsum("kmbpc,mps->ksbc", outputs.reshape(shape), sums)
        return summed.flatten(0, 1), auxiliary.sum()

    def _constant(self, modality: int, expert: int) -> Tensor:
        """What stands for a modality before all samples: [1, D], or [1, T, D]."""
        spec = self.latents[modality]
        # Of a padded modality one token: how many a batch has would tell something of it.
        one = spec.padded or self._one_token
        tokens = () if spec.tokens is None else (1 if one else spec.tokens,)
        constant = cast(Tensor, self.constants[modality])[expert]
        return constant.expand(1, *tokens, spec.dim)

    def _forward_without(self, inputs: Sequence[Any], absent: Sequence[int]) -> ModelOutput:
        present = self.present(inputs, absent)
        unimodal, auxiliary = self._run_unimodal(inputs, present)
        sets = self.members.sets
        of_set = unimodal.unflatten(0, (self.members.copies, len(sets)))
        prediction = of_set[:, sets.index(tuple(present))].mean(0)
        if not self.training and self._fitted is not None:
            unknown = unimodal.new_zeros((self.members.joint, *unimodal.shape[1:]))
            outputs = _numbers(torch.cat([unimodal, unknown]))
            found = self._fitted.predict_without(outputs, list(absent))
            prediction = self._concluded(found, prediction)
        return ModelOutput(prediction, auxiliary)

    def _concluded(self, found: Any, like: Tensor) -> Tensor:
        """What was computed in double precision on the CPU, where the model runs."""
        tensor = torch.from_numpy(found)
        return tensor.to(like.device, torch.float32 if like.device.type == "mps" else None)

    def _side_by_side(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Models' outputs [models, N, C] and their targets, one model's samples after another's."""
        repeated = target.repeat(len(outputs), *(1 for _ in target.shape[1:]))
        return outputs.flatten(0, 1), repeated

    def _count(self, target: Tensor) -> None:
        """Count the targets of the first epoch, whose shares are the prior."""
        if isinstance(self.task, SignClassification):
            target = (target > 0).long()
        if isinstance(self.task, Classification):
            classes = torch.arange(self.task.num_outputs, device=target.device)
            target = target[:, None] == classes
        self._totals += target.reshape(len(target), -1).sum(0)
        self._seen += len(target)


def _takes_one_token(expert: nn.Module, latents: Sequence[LatentSpec]) -> bool:
    """Whether each modality may have a single token beside a whole one: less to compute.

    Backbones that know padding take any number of tokens; not all take another of each modality.
    """
    padding = getattr(getattr(expert, "entry", None), "padding", False)
    if not padding or any(one.tokens is None for one in latents):
        return False
    tried = copy.deepcopy(expert).eval()
    like = next(tried.parameters(), torch.zeros(()))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for whole in range(len(latents)):
                counts = [one.tokens or 1 if m == whole else 1 for m, one in enumerate(latents)]
                pairs = zip(latents, counts, strict=True)
                tried([like.new_zeros(2, count, one.dim) for one, count in pairs])
    except Exception:  # a backbone may refuse in any way: it then gets as many as there are
        return False
    return True


def _sums(modalities: int) -> Tensor:
    """[M, 2^(M-1), sets]: which of an expert's outputs belongs to which set."""
    sets = Members(modalities, 1, 1).sets
    found = torch.zeros(modalities, 2 ** (modalities - 1), len(sets))
    for modality in range(modalities):
        own = [place for place, one in enumerate(sets) if modality in one]
        for output, place in enumerate(own):
            found[modality, output, place] = 1
    return found


def _numbers(outputs: Tensor) -> Any:
    """[models, B, C] as an array [B, models, C]."""
    return in_full(outputs.detach()).transpose(0, 1).cpu().numpy()
