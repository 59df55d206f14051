"""Precision that a processor only emulates is refused, before anything is trained."""

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.run import environment
from i2moe_plugin.benchmarks.run.environment import check_precision, create_fabric
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.run.trained import Predictor
from i2moe_plugin.errors import ConfigError

PROCESSORS = {
    "processor : 0\nflags\t\t: fpu avx2 avx512f\n\nflags\t\t: fpu avx512_bf16\n": False,
    "flags\t\t: fpu avx512f avx512_bf16x\n": False,
    "flags\t\t: fpu avx512f avx512_bf16 amx_tile\n": True,
    "flags\t\t: fpu amx_bf16\n": True,
    "Features\t: fp asimd bf16 i8mm\n": True,
    "Features\t: fp asimd\n": False,
    "processor : 0\n": None,
}


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """``processor(text)``: what the system says of it."""

    def say(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(environment, "_CPU_INFO", tmp_path / "cpuinfo")

    return say


def settings(**changes):
    return RunSettings(dataset="htad", fusion="concat", **{"device": "cpu", **changes})


@pytest.mark.parametrize(("text", "has"), PROCESSORS.items())
def test_bfloat16_is_refused_where_it_is_emulated(processor, text, has):
    processor(text)
    assert environment.multiplies_bfloat16() is has
    check_precision(settings())
    check_precision(settings(precision="bf16-mixed", force_precision=True))
    if has is False:
        with pytest.raises(ConfigError, match=r"avx512_bf16 or amx_bf16.*--force-precision"):
            create_fabric(settings(precision="bf16-mixed"))
    else:
        check_precision(settings(precision="bf16-mixed"))


@pytest.mark.parametrize("forced", [False, True])
def test_float16_is_refused_on_a_cpu(forced):
    with pytest.raises(ConfigError, match=r"16-mixed is for GPUs.*Take bf16-mixed, 32 or auto"):
        create_fabric(settings(precision="16-mixed", force_precision=forced))


@pytest.mark.parametrize(
    ("trained", "used"), [("bf16-mixed", "bf16-mixed"), ("16-mixed", "32-true")]
)
def test_a_model_from_another_machine_predicts(processor, small_htad, tmp_path, trained, used):
    """One that was trained where the precision is, read where it is not."""
    data = open_dataset("htad", small_htad)
    run = execute(settings(epochs=1, latent_dim=8), data, RunStore(tmp_path / "runs"))
    processor("flags : fpu\n")
    saved = SavedModel.of(run)
    saved.record.settings["precision"] = trained
    predictor = Predictor.load(saved, data.samples("test", "cpu"))
    assert predictor.trainer.fabric._precision.precision == used


def test_a_system_that_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_CPU_INFO", tmp_path / "none")
    check_precision(settings(precision="bf16-mixed"))


def test_the_identity_does_not_depend_on_it():
    one, two = settings(), settings(force_precision=True)
    assert one.identity() == two.identity()


def test_the_command(processor, tmp_path, small_htad):
    processor("flags : fpu\n")
    arguments = ["run", "--fusion", "concat", "--data-root", str(small_htad), "--seeds", "1",
                 "--epochs", "1", "--device", "cpu", "--precision", "bf16-mixed",
                 "--out", str(tmp_path / "runs")]  # fmt: skip
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "this processor has no bfloat16 arithmetic" in refused.stderr
    forced = CliRunner().invoke(main, [*arguments, "--force-precision"])
    assert forced.exit_code == 0, forced.output
    again = CliRunner().invoke(main, arguments)  # finished runs are shown all the same
    assert again.exit_code == 0, again.output
    assert len(list(RunStore(tmp_path / "runs"))) == 2
