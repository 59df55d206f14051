"""Loading a Hugging Face network from a checked folder, frozen for good."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from i2moe_plugin.benchmarks.encoders.pretrained.folders import Kind, ModelFolder
from i2moe_plugin.benchmarks.encoders.pretrained.requirements import needs_transformers
from i2moe_plugin.benchmarks.encoders.sequences import TokenEncoder, padding_mask
from i2moe_plugin.benchmarks.encoders.vgg import Frozen
from i2moe_plugin.errors import DatasetError, listed

CONFIGURATIONS: dict[Kind, str] = {"text": "text_config", "image": "vision_config"}
#: Parts of a network that states of tokens do not go through.
UNUSED = ("pooler.", "mask_token", "lm_head.", "cls.", "classifier.")


class PretrainedNetwork(Frozen):
    """A network that is never trained: evaluation mode whatever a trainer asks, no gradient.

    Args:
        network: as transformers builds it.
        name: of the model, for messages.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__(network)
        self.name = name

    @property
    def network(self) -> Any:
        """The network inside."""
        return self.module

    def run(self, what: str, **inputs: Any) -> Any:
        """What the network makes of its inputs, without gradient.

        Args:
            what: what the inputs are, for messages.
            inputs: by the names that transformers gives them.

        Raises:
            DatasetError: it cannot take them.
        """
        try:
            with torch.no_grad():
                return self.network(**inputs)
        except Exception as error:  # networks meet what they are not made for with nearly any
            reason = (str(error).splitlines() or [""])[0][:160]
            raise DatasetError(f"{self.name} cannot take {what} ({reason}).") from error


class Projected(nn.Module):
    """A frozen network, and the projection that is trained behind it."""

    def __init__(self, network: nn.Module, projection: TokenEncoder) -> None:
        super().__init__()
        self.network, self.projection = network, projection

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Any:
        """Pictures [B, 3, H, W], or token numbers [B, T] with lengths [B] -> a latent."""
        if lengths is None:
            return self.projection(self.network(x))
        there = (~padding_mask(lengths, x.shape[1])).long()
        states = self.network(x, there) * there[..., None]  # as kept states are: zeros behind
        return self.projection(states, lengths)


def read_configuration(model: ModelFolder, kind: Kind) -> Any:
    """What transformers makes of a folder's ``config.json``, whose names differ between models.

    Args:
        model: the folder.
        kind: whose configuration is wanted, where a model has a tower for each.

    Raises:
        DatasetError: transformers is not installed, or does not know the model.
    """
    needs_transformers()
    from transformers import AutoConfig

    try:
        with _quiet():
            config = AutoConfig.from_pretrained(
                str(model.path), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers raises nearly anything
        raise DatasetError(
            f"{model.path}: the model cannot be loaded ({_reason(error)})."
        ) from error
    return getattr(config, CONFIGURATIONS[kind], None) or config


def load_network(model: ModelFolder, tower: str) -> nn.Module:
    """The network of a folder, with all its weights; of one that also writes text, its reader.

    Args:
        model: the folder.
        tower: what the wanted part is called where a model has one for text and one for pictures.

    Raises:
        DatasetError: transformers is not installed or does not know the model, or weights are
            missing or of other shapes than the configuration says.
    """
    needs_transformers()
    from transformers import AutoModel

    try:
        with _quiet():
            network, found = AutoModel.from_pretrained(
                str(model.path),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises nearly anything
        raise DatasetError(
            f"{model.path}: the model cannot be loaded ({_reason(error)})."
        ) from error
    inside = getattr(network, tower, None)
    prefix = f"{tower}." if isinstance(inside, nn.Module) else ""
    lost = sorted(
        key
        for key in found["missing_keys"]
        if key.startswith(prefix) and not any(part in key for part in UNUSED)
    )
    lost += sorted(
        f"{key} ({list(there)}, not {list(wanted)})"
        for key, there, wanted in found["mismatched_keys"]
    )
    if lost:
        raise DatasetError(
            f"{model.path}: its weights are not those of the {model.config.get('model_type')} that "
            f"config.json describes; {len(lost)} are missing or of another shape:\n"
            f"{listed(lost, 5)}"
        )
    if isinstance(inside, nn.Module):
        network = inside
    elif getattr(network.config, "is_encoder_decoder", False):
        # The states of the part that writes stand for the tokens before their own.
        network = network.get_encoder()
    # Published weights are often in half precision, in which a CPU computes slowly or not at all.
    return network.float()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and remarks; what matters is checked and told as errors."""
    from transformers.utils import logging as own

    before, bars = own.get_verbosity(), own.is_progress_bar_enabled()
    own.set_verbosity(logging.CRITICAL)
    own.disable_progress_bar()
    try:
        yield
    finally:
        own.set_verbosity(before)
        if bars:
            own.enable_progress_bar()
