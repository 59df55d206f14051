"""Building a registered backbone, and saying beforehand why it cannot be built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from i2moe_plugin.backbones.entry import HEAD_SETTINGS, BackboneEntry, backbones
from i2moe_plugin.backbones.latents import LatentKind, LatentSpec
from i2moe_plugin.backbones.wrapper import Backbone
from i2moe_plugin.errors import BackboneError, ConfigError, did_you_mean


def create_backbone(
    name: str,
    latents: Sequence[LatentSpec],
    num_outputs: int,
    **settings: Any,
) -> Backbone:
    """Build a registered backbone for latents of these shapes.

    Args:
        name: a registered name.
        latents: one spec for each modality, in order.
        num_outputs: C, the width of the output.
        **settings: arguments of the registered constructor; where it brings no head of its own
            also ``head_hidden`` (128), hidden width of the head we add (0: one linear layer), and
            ``head_dropout`` (0.0).

    Returns:
        A module: list of M latents -> ``([B, C] output, scalar auxiliary loss)``.

    Raises:
        UnknownNameError: no such backbone.
        ConfigError: settings the constructor does not have or needs; all are listed.
        BackboneError: the modalities do not fit, or the constructor or a dry run failed.
    """
    entry = backbones.get(name)
    if reason := misfit(entry, len(latents), [latent.kind for latent in latents]):
        raise BackboneError(reason)
    if problems := setting_problems(entry, settings):
        raise ConfigError(problems)
    widths = [latent.dim for latent in latents]
    supplied = {"input_dims": widths, "latents": list(latents), "num_outputs": num_outputs}
    given: dict[str, Any] = {key: supplied[key] for key in supplied if key in entry.parameters}
    given |= settings
    head = {} if entry.own_head else {key: given[key] for key in HEAD_SETTINGS if key in given}
    try:
        fusion = entry.build(**{key: value for key, value in given.items() if key not in head})
        return Backbone(entry, fusion, latents, num_outputs, own_head=entry.own_head, **head)
    except BackboneError:
        raise
    except Exception as error:
        said = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise BackboneError(
            f"backbone {name!r} could not be built with ({said}): {type(error).__name__}: {error}"
        ) from error


def misfit(entry: BackboneEntry, modalities: int, kinds: Sequence[LatentKind] = ()) -> str:
    """Say why a backbone cannot fuse so many modalities, or latents of these kinds.

    Args:
        entry: the backbone.
        modalities: M, how many there are.
        kinds: the kind of each modality's latent, where that is known.

    Returns:
        a sentence; nothing where it fits.

    >>> from i2moe_plugin.backbones.entry import backbones
    >>> misfit(backbones.get("mi3"), 2)
    "backbone 'mi3' fuses 3 modalities; 2 are given."
    """
    fewest, most = entry.min_modalities, entry.max_modalities
    if modalities < fewest or (most is not None and modalities > most):
        limits = f"{fewest}" if most == fewest else f"{fewest} to {most}"
        limits = f"at least {fewest}" if most is None else limits
        return f"backbone {entry.name!r} fuses {limits} modalities; {modalities} are given."
    for number, kind in enumerate(kinds, start=1):
        if entry.latents not in ("any", kind):
            return (
                f"backbone {entry.name!r} takes {entry.latents} latents; modality {number} comes "
                f"as {kind}."
            )
    return ""


def setting_problems(entry: BackboneEntry, settings: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with these settings for that backbone, one sentence each."""
    known = entry.settings
    names = [n for n, p in known.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    allowed = names if entry.own_head else [*names, *HEAD_SETTINGS]
    problems = []
    if all(parameter.kind != parameter.VAR_KEYWORD for parameter in known.values()):
        problems += [
            f"backbone {entry.name!r} has no setting {key!r}.{did_you_mean(key, allowed)} "
            f"It has: {', '.join(allowed) or 'none'}."
            for key in settings
            if key not in allowed
        ]
    problems += [
        f"backbone {entry.name!r} needs the setting {key!r}, which has no default."
        for key in names
        if known[key].default is inspect.Parameter.empty and key not in settings
    ]
    return problems
