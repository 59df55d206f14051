"""A model's folder predicts as its run does, and nothing in a hostile one is believed."""

import hashlib
import http.server
import json
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.experiments import export_run, load_run, predict
from i2moe_plugin.benchmarks.run.checkpoints import load_tensors, save_tensors
from i2moe_plugin.errors import ConfigError, I2MoEError, RunError

hub = pytest.importorskip("huggingface_hub", reason="needs the hub extra")

from i2moe_plugin.benchmarks.experiments.pretrained import FILES, PretrainedModel  # noqa: E402


def assert_same(found, run):
    """Bit for bit what the run stored of its test samples."""
    stored = run.outputs()
    assert found.outputs.sample_id.tolist() == stored["sample_id"].tolist()
    for name in ("prediction", "weights", "expert_outputs", "target"):
        if name in stored:
            np.testing.assert_array_equal(getattr(found.outputs, name), stored[name])


@pytest.mark.parametrize(
    ("task", "fusion", "method"),
    [
        ("classification", "transformer", "i2moe"),
        ("multilabel", "concat", "vanilla"),
        ("regression", "concat", "i2moe"),
        ("classification", "lrtf", "evidence"),
    ],
)
def test_with_run_and_data_gone_predictions_are_the_runs_own(
    tmp_path, own_folder, train, task, fusion, method
):
    data = own_folder(task)
    kept = ("words", "series", "picture")
    modalities = data.description["modalities"]
    data.description["modalities"] = {name: modalities[name] for name in kept}
    data.write(tmp_path / "data")
    run = load_run(train(tmp_path / "data", tmp_path / "runs", fusion, method))
    run.outputs()
    shutil.move(str(run.export(tmp_path / "model")), tmp_path / "elsewhere")
    (tmp_path / "data").rename(tmp_path / "gone")
    shutil.copytree(run.path, tmp_path / "kept")
    shutil.rmtree(tmp_path / "runs")
    run = load_run(tmp_path / "kept")
    new = data.write(tmp_path / "new", data.TEST, described=False)
    model = PretrainedModel.from_pretrained(tmp_path / "elsewhere")
    assert_same(model.predict(new), run)
    file = tmp_path / "p.json"
    arguments = ["predict", str(tmp_path / "elsewhere"), "--data", str(new), "-o", str(file)]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(json.dumps(model.predict(new).as_dict()))
    network = model.model()
    assert not network.training
    assert sum(p.numel() for p in network.parameters()) == run.result["parameters"]


def test_written_again_it_is_the_same(exported, tmp_path):
    _, _, folder = exported
    again = PretrainedModel.from_pretrained(folder).export(tmp_path / "again")
    assert sorted(path.name for path in again.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    with pytest.raises(RunError, match="is there already; name a new folder"):
        PretrainedModel.from_pretrained(folder).export(again)


@pytest.fixture(scope="module")
def exported(classified, tmp_path_factory):
    """A folder of samples, a run on it, and its exported model."""
    data, run = classified
    return data, run, run.export(tmp_path_factory.mktemp("exported") / "model")


def test_the_card_is_one_that_the_hub_reads(exported):
    _, run, folder = exported
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.library_name == "i2moe-plugin"
    assert card.data.license == "unknown"
    results = {one.metric_type: one for one in card.data.eval_results}
    known = {name: value for name, value in run.result["test"].items() if value is not None}
    assert {name: one.metric_value for name, one in results.items()} == pytest.approx(
        {name: value for name, value in known.items() if name != "loss"}
    )
    config = json.loads((folder / "config.json").read_text())["i2moe_plugin"]
    accuracy = config["card"]["figures"][0]
    outputs = run.interpretable()
    right = (outputs.prediction.argmax(1) == outputs.target).astype(float)
    drawn = np.random.default_rng(1).choice(right, size=(4000, len(right))).mean(1)
    # Of 12 samples the quantiles lie on a grid of twelfths.
    expected = np.quantile(drawn, [0.025, 0.975])
    assert [accuracy["low"], accuracy["high"]] == pytest.approx(expected, abs=0.09)
    row = f"| {100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f} |"
    assert row in card.text
    for words in ("Licence of the data", "all", "predict FOLDER --data", "from_pretrained"):
        assert words in card.text
    assert str(run.path.parent) not in (folder / "config.json").read_text() + card.content


def test_several_runs_are_told_apart(tmp_path, small_htad):
    arguments = ["run", "--data-root", str(small_htad), "--seeds", "2", "--epochs", "1"]
    arguments += ["--fusion", "concat", "--out", str(tmp_path / "runs"), "--device", "cpu"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    with pytest.raises(ConfigError, match="4 runs of this folder, and one is needed"):
        export_run(tmp_path / "runs", tmp_path / "model")
    with pytest.raises(ConfigError, match="no run of --method i2moe --seed 7"):
        export_run(tmp_path / "runs", tmp_path / "model", method="i2moe", seed=7)
    arguments = ["export", str(tmp_path / "runs"), "--method", "i2moe", "--seed", "1"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "model"), "--json"])
    assert json.loads(done.stdout)["files"] == ["README.md", "config.json", "model.safetensors"]
    facts = json.loads((tmp_path / "model/config.json").read_text())["i2moe_plugin"]
    assert (facts["settings"]["method"], facts["settings"]["seed"]) == ("i2moe", 1)
    assert "± " in (tmp_path / "model/README.md").read_text()
    with pytest.raises(RunError, match="leave the data out"):  # a set that ships reads its own
        predict(tmp_path / "model", small_htad)


def test_a_run_that_names_files_of_this_machine_is_not_exported(classified, tmp_path):
    _, run = classified
    changed = load_run(run.path)
    changed.__dict__["settings"] = {**run.settings, "data_settings": {"words": "/home/me/w.txt"}}
    with pytest.raises(RunError, match=r"data\.words='/home/me/w\.txt' names a place"):
        changed.export(tmp_path / "model")


def config_with(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["i2moe_plugin"].update(changes)
    file.write_text(json.dumps(config))


def settings_with(folder, **changes):
    config = json.loads((folder / "config.json").read_text())["i2moe_plugin"]
    config_with(folder, settings=config["settings"] | changes)


def flip(folder, name, at):
    content = bytearray((folder / name).read_bytes())
    content[int(at * len(content))] ^= 4
    (folder / name).write_bytes(bytes(content))


def change_tensors(folder, name, change):
    tensors, record = load_tensors(folder / name)
    change(tensors)
    save_tensors(folder / name, tensors, record)


def first_doubled(tensors):
    name = next(iter(tensors))
    tensors[name] = torch.cat([tensors[name]] * 2)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


HOSTILE = {
    "no config": (lambda f: (f / "config.json").unlink(), "neither a finished run"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "not readable"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "an object was expected"),
    "deep": (lambda f: (f / "config.json").write_text("[" * 100_000), "not readable"),
    "another library's": (lambda f: (f / "config.json").write_text("{}"), "no part"),
    "another format": (lambda f: config_with(f, format=2), "format: input should be 1"),
    "unknown part": (lambda f: config_with(f, auto_map={"x": "y.py"}), "auto_map: extra"),
    "no task": (lambda f: config_with(f, task={}), "says no task"),
    "another task": (lambda f: config_with(f, task={"name": "x"}), "says no task"),
    "odd task": (
        lambda f: config_with(f, task={"name": "classification", "num_outputs": -1}),
        "task|weights",
    ),
    "scale": (
        lambda f: config_with(f, target_scale={"mean": [0.0], "deviation": [0.0]}),
        "greater",
    ),
    "class names": (
        lambda f: config_with(f, class_names=["a"]),
        "names 1 classes|none of the classes",
    ),
    "experts": (lambda f: config_with(f, experts=["x"]), "experts are not those"),
    "plan": (lambda f: config_with(f, plan={"x": 1}), "do not fit"),
    "width": (lambda f: settings_with(f, latent_dim=16), "size mismatch|do not fit"),
    "negative": (lambda f: settings_with(f, latent_dim=-1), "not a run's settings"),
    "no such setting": (lambda f: settings_with(f, seed="0"), "seed"),
    "no fusion": (lambda f: settings_with(f, fusion="mine"), "Load the file that registers it"),
    "no data set": (lambda f: settings_with(f, dataset="folder:../x"), "dataset"),
    "a way out": (
        lambda f: settings_with(f, data_settings={"words": "../../secret"}),
        "outside the folder",
    ),
    "an absolute way out": (
        lambda f: settings_with(f, fusion_settings={"weights": "/etc/passwd"}),
        "outside the folder",
    ),
    "a home": (lambda f: settings_with(f, data_settings={"w": "~"}), "outside the folder"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    "a folder of weights": (
        lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()),
        "not a file",
    ),
    "a pickle of weights": (
        lambda f: (f / "model.safetensors").write_bytes(pickle.dumps(Bomb())),
        "not readable",
    ),
    "a pickle of what was fitted": (
        lambda f: (f / "preprocessing.safetensors").write_bytes(pickle.dumps(Bomb())),
        "not readable",
    ),
    "flipped weights": (lambda f: flip(f, "model.safetensors", 0.9), "checksum"),
    "flipped header": (lambda f: flip(f, "model.safetensors", 0.001), "not readable|checksum"),
    "flipped fit": (lambda f: flip(f, "preprocessing.safetensors", 0.99), "checksum"),
    "cut": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-10]
        ),
        "not readable",
    ),
    "wrong shapes": (
        lambda f: change_tensors(f, "model.safetensors", first_doubled),
        "size mismatch",
    ),
    "missing keys": (
        lambda f: change_tensors(f, "model.safetensors", lambda t: t.pop(next(iter(t)))),
        "Missing key",
    ),
    "keys too many": (
        lambda f: change_tensors(f, "model.safetensors", lambda t: t.update(x=torch.zeros(1))),
        "Unexpected key",
    ),
    "missing fit": (
        lambda f: change_tensors(f, "preprocessing.safetensors", lambda t: t.clear()),
        "not whole",
    ),
    "fit of other shapes": (
        lambda f: change_tensors(f, "preprocessing.safetensors", first_doubled),
        "fit|training",
    ),
    "no fit": (lambda f: (f / "preprocessing.safetensors").unlink(), "keeps no preprocessing"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_folder_is_refused_in_words(exported, tmp_path, monkeypatch, kind):
    data, _, folder = exported
    monkeypatch.chdir(tmp_path)
    model = shutil.copytree(folder, tmp_path / "model")
    spoil, reason = HOSTILE[kind]
    spoil(model)
    new = data.write(tmp_path / "new", data.TEST, described=False)
    with pytest.raises(I2MoEError, match=reason):
        PretrainedModel.from_pretrained(model).predict(new)
    done = CliRunner().invoke(main, ["predict", str(model), "--data", str(new)])
    assert done.exit_code == 1, done.output
    assert not isinstance(done.exception, Exception)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("place", ["../days.csv", "/etc/passwd.csv", "a/../../t.csv"])
def test_what_was_fitted_names_no_file_outside_the_samples(exported, tmp_path, place):
    data, _, folder = exported
    model = shutil.copytree(folder, tmp_path / "model")
    tensors, record = load_tensors(model / "preprocessing.safetensors")
    record["description"]["target"]["file"] = place
    save_tensors(model / "preprocessing.safetensors", tensors, record)
    new = data.write(tmp_path / "new", data.TEST, described=False)
    with pytest.raises(I2MoEError, match="must lie inside the folder"):
        PretrainedModel.from_pretrained(model).predict(new)


class Hub(http.server.BaseHTTPRequestHandler):
    """What ``snapshot_download`` asks of the hub, for one repository."""

    folder: Path
    commit = "0123456789abcdef0123456789abcdef01234567"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        names = sorted(file.name for file in self.folder.iterdir())
        if path.startswith("/api/models/me/model/revision/"):
            siblings = [{"rfilename": name} for name in names]
            return self.give(
                json.dumps({"id": "me/model", "sha": self.commit, "siblings": siblings}).encode()
            )
        if path.startswith("/api/models/me/model/tree/"):
            files = [
                {"type": "file", "path": n, "size": (self.folder / n).stat().st_size, "oid": "0"}
                for n in names
            ]
            return self.give(json.dumps(files).encode())
        name = path.rpartition("/")[2]
        if path.startswith("/me/model/resolve/") and name in names:
            return self.give((self.folder / name).read_bytes())
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def give(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def served(exported, tmp_path, monkeypatch):
    """A hub on this machine that has the exported model as ``me/model``."""
    _, _, folder = exported
    shutil.copytree(folder, tmp_path / "served")
    (tmp_path / "served/other.pkl").write_bytes(pickle.dumps(Bomb()))
    handler = type("Here", (Hub,), {"folder": tmp_path / "served"})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    download = hub.snapshot_download
    monkeypatch.setattr(
        "i2moe_plugin.benchmarks.experiments.pretrained.snapshot_download",
        lambda *names, **options: download(*names, endpoint=address, **options),
    )
    yield tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_repository_is_fetched_and_reads_as_the_folder(exported, served):
    data, run, _ = exported
    cache = served / "cache"
    model = PretrainedModel.from_pretrained("me/model", cache_dir=cache)
    new = data.write(served / "new", data.TEST, described=False)
    assert_same(model.predict(new), run)
    assert {path.name for path in model.saved.path.iterdir()} == set(FILES)  # and no pickle
    again = PretrainedModel.from_pretrained("me/model", cache_dir=cache, local_files_only=True)
    assert_same(again.predict(new), run)
    with pytest.raises(RunError, match="no such folder, and no such repository"):
        PretrainedModel.from_pretrained("me/nothing", cache_dir=cache)


def test_it_is_pushed_whole(exported, monkeypatch):
    _, _, folder = exported
    sent = {}

    def create_repo(self, repo_id, **_):
        return hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, **_):
        sent[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return "the commit"

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)
    assert PretrainedModel.from_pretrained(folder).push_to_hub("me/model") == "the commit"
    assert sent == {"me/model": {name: (folder / name).read_bytes() for name in FILES}}
