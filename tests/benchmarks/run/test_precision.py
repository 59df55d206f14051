"""``precision=auto``: what is chosen, that it stays chosen, and that the result says so."""

import pytest

from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.run import environment, precision
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.precision import settle_precision, step_seconds
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import RunError

QUICK = {"epochs": 1, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "precision": "auto"}


def quick(**changes):
    settings, _ = resolve("htad", "concat", QUICK)
    return settings.model_copy(update=changes)


@pytest.fixture
def data(small_htad):
    return open_dataset("htad", small_htad)


@pytest.fixture
def folder(tmp_path):
    """An empty one, where runs go."""
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def clock(monkeypatch):
    """``clock(plain, mixed)``: what is measured, in seconds a step; counts the measurements."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    asked = []

    def say(plain, mixed):
        def measured(settings, *_):
            asked.append(settings.method)
            return {"32": plain, "bf16-mixed": mixed}

        monkeypatch.setattr(precision, "step_seconds", measured)
        return asked

    return say


@pytest.mark.parametrize(
    ("plain", "mixed", "chosen"),
    [(1.0, 0.5, "bf16-mixed"), (1.0, 0.95, "32"), (1.0, 1.0, "32"), (1.0, 16.0, "32")],
)
def test_bfloat16_is_chosen_for_a_gain_alone(folder, data, clock, plain, mixed, chosen):
    clock(plain, mixed)
    settings, note = settle_precision(quick(), data, folder)
    assert settings == quick(precision=chosen)
    assert f"trained in {chosen}" in note
    assert f"{1e3 * mixed:.2g} ms in bf16-mixed" in note


def test_all_methods_and_seeds_of_a_folder_are_trained_in_the_same(folder, data, clock):
    asked = clock(1.0, 0.5)
    first, note = settle_precision(quick(), data, folder)
    clock(1.0, 2.0)
    assert settle_precision(quick(method="i2moe", seed=3), data, folder) == (
        first.model_copy(update={"method": "i2moe", "seed": 3}),
        note,
    )
    assert asked == ["vanilla"]
    # Another batch is another step.
    assert settle_precision(quick(batch_size=7), data, folder)[0].precision == "32"


def test_a_processor_without_bfloat16_is_not_measured(folder, data, monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "step_seconds", None)
    settings, note = settle_precision(quick(), data, folder)
    assert settings.precision == "32"
    assert "no bfloat16 arithmetic" in note


def test_a_chosen_precision_is_left_alone(folder, data):
    assert settle_precision(quick(precision="32"), data, folder) == (quick(precision="32"), "")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"precision": "8", "note": ""}'])
def test_a_damaged_choice_is_named(folder, data, clock, text):
    clock(1.0, 0.5)
    settle_precision(quick(), data, folder)
    [path] = folder.iterdir()
    path.write_text(text)
    with pytest.raises(RunError, match=path.name):
        settle_precision(quick(), data, folder)


def test_a_run_says_what_was_chosen(folder, data, clock):
    clock(1.0, 0.5)
    run = execute(quick(), data, RunStore(folder))
    assert run.json("settings.json")["precision"] == "bf16-mixed"
    assert any("trained in bf16-mixed" in note for note in run.json("result.json")["notes"])
    # The same numbers as with that precision asked for.
    environment_has = environment.multiplies_bfloat16()
    asked = quick(precision="bf16-mixed", force_precision=environment_has is False)
    other = execute(asked, data, RunStore(folder / "asked"))
    assert (run.outputs()["prediction"] == other.outputs()["prediction"]).all()
    assert execute(quick(), data, RunStore(folder)).path == run.path  # finished


def test_steps_are_measured(data):
    measured = step_seconds(quick(), data)
    assert set(measured) == {"32", "bf16-mixed"}
    assert all(0 < seconds < 60 for seconds in measured.values())
