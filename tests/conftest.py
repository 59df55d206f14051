"""What all tests share: a fixed seed, registries left as found, the recorded outputs."""

import gc
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from i2moe_plugin import registry
from i2moe_plugin.backbones.entry import backbones

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repository")

gc.disable()  # until everything is loaded, see pytest_collection_finish

#: The process of these tests, and what its forks write of themselves where they leave their test.
PROCESS = os.getpid()
ESCAPED = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- closed in pytest_unconfigure

Golden = Callable[[str], tuple[dict[str, Any], dict[str, torch.Tensor]]]


def pytest_collection_finish() -> None:
    """Leave what was loaded out of every search for garbage: a tenth of the tests' time."""
    gc.freeze()
    gc.enable()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell of a failure when it happens: the summary is lost where pytest itself is ended."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stderr.write(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}\n")
        sys.stderr.flush()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End a fork that left its test: it would go on with all that follow, beside its parent."""
    if os.getpid() != PROCESS:
        error = call.excinfo.getrepr(style="short") if call.excinfo else "no error"
        os.write(ESCAPED.fileno(), f"process {os.getpid()}: {error}\n".encode())
        os._exit(1)
    report = yield
    ESCAPED.seek(0)
    if call.when == "teardown" and (told := ESCAPED.read().decode()):
        ESCAPED.truncate(0)
        report.outcome, report.longrepr = "failed", f"a fork went on as this process: {told}"
    return report


def pytest_unconfigure() -> None:
    """Close what this module opened."""
    ESCAPED.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a POSIX system on another."""
    if os.name != "posix" and item.get_closest_marker("posix"):
        pytest.skip("needs a POSIX system")


@pytest.fixture(autouse=True, scope="session")
def _packages_looked_through_once() -> Iterator[None]:
    """To ask all installed packages for their entry points takes 10 ms, as long as most tests.

    Fabric does so whenever a training starts, for callbacks that we never call.
    """
    backbones.names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "lightning_fabric.fabric._load_external_callbacks", lambda _: [], raising=False
        )
        yield


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Every test starts from one seed and leaves backbones and plugins as they were."""
    before, plugins = dict(backbones._entries), dict(registry._loaded)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 -- libraries that tests compare with draw from it
    random.seed(0)
    yield
    backbones._entries.clear()
    backbones._entries.update(before)
    registry._loaded.clear()  # processes that are started load what is in it
    registry._loaded.update(plugins)


@pytest.fixture(scope="session")
def golden() -> Golden:
    """``golden(case)`` -> its facts and its arrays as tensors."""
    folder = Path(__file__).parent / "golden"
    index = json.loads((folder / "index.json").read_text())

    def load(case: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        with np.load(folder / f"{case}.npz", allow_pickle=False) as arrays:
            return index[case], {key: torch.from_numpy(arrays[key]) for key in arrays}

    return load


def write_few_icons(
    folder: Path, keep=lambda row: row % 12 == 0, letters: int | None = None, **changes
) -> Path:
    """An ``icons.npz`` of some packaged icons; ``changes`` replace arrays, None drops one.

    Texts are cut after so many ``letters``, which are tokens of the tiny text model.
    """
    from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED
    from i2moe_plugin.benchmarks.datasets.icons.collection import ARRAYS

    folder.mkdir(exist_ok=True)
    with np.load(EMBEDDED / "icons.npz") as archive:
        data = {name: archive[name] for name in ARRAYS}
    bases = np.unique(data["base"], return_inverse=True)[1]
    rows = np.flatnonzero([keep(b) for b in bases])
    ends = data["image_offset"]
    pictures = [data["image_webp"][ends[r] : ends[r + 1]] for r in rows]
    for name in ("collection", "base", "text", "style", "category", "split"):
        data[name] = data[name][rows]
    data["text"] = np.array([text[:letters] for text in data["text"]])
    data["image_webp"] = np.concatenate(pictures)
    data["image_offset"] = np.cumsum([0, *map(len, pictures)])
    data |= changes
    np.savez(folder / "icons.npz", **{k: v for k, v in data.items() if v is not None})
    return folder


@pytest.fixture(scope="session")
def write_icons():
    """What writes such a file into a folder."""
    return write_few_icons


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    """A text model and a picture model of the real kinds, tiny; not to be changed."""
    transformers = pytest.importorskip("transformers", reason="needs the extra pretrained")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("models")
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *letters]
    made = Tokenizer(models.BPE({p: n for n, p in enumerate(pieces)}, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder / "text")
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(
        vocab_size=len(pieces), intermediate_size=8, max_position_embeddings=400, **shape
    )
    transformers.BertModel(config).save_pretrained(folder / "text")
    config = transformers.Dinov2Config(image_size=112, patch_size=14, **shape)
    transformers.Dinov2Model(config).save_pretrained(folder / "picture")
    facts = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "picture" / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder
