"""A trained model in a folder of its own: written, read, sent to the Hugging Face hub and back."""

from __future__ import annotations

import html
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from i2moe_plugin.benchmarks.experiments.model_card import LIBRARY, TAGS, card_of, described
from i2moe_plugin.benchmarks.run.checkpoints import FITTED
from i2moe_plugin.benchmarks.run.files import disk_errors_explained
from i2moe_plugin.benchmarks.run.saved import CONFIG, MODEL, SavedModel, outside_settings
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import ConfigError, RunError

try:
    with warnings.catch_warnings():  # of its progress bars, in a notebook without widgets
        warnings.filterwarnings("ignore", "IProgress not found")
        from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
except ImportError as error:
    raise ConfigError(
        "models in folders need huggingface_hub: pip install 'i2moe-plugin[hub]'."
    ) from error

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.samples import Part, Source
    from i2moe_plugin.benchmarks.run.predicted import Predicted
    from i2moe_plugin.multimodal import MultimodalModel

#: The files of a model's folder; nothing else is fetched from a repository.
FILES = ("README.md", CONFIG, MODEL, FITTED)


class PretrainedModel(
    ModelHubMixin,
    library_name=LIBRARY,
    tags=list(TAGS),
    license="unknown",
):
    """A trained model, with all it needs to read new samples.

    :meth:`from_pretrained` reads a folder or a repository of the Hugging Face hub,
    ``save_pretrained(folder)`` writes a folder, and ``push_to_hub("me/name")`` sends it there.
    Nothing is unpickled or imported on the way, and no file is named by what is read. What
    ``i2moe-bench export`` writes is such a folder.

    Attributes:
        saved: the model as it is kept.
    """

    saved: SavedModel
    # The mixin would otherwise gather the arguments of the constructor for config.json.
    _hub_mixin_config: Any = {}  # noqa: RUF012

    def __init__(self, saved: SavedModel) -> None:
        self.saved = saved

    @classmethod
    def of(cls, run: Run) -> Self:
        """Take the model of a finished run, with the figures that its card shows.

        Raises:
            RunError: the run is damaged, or its settings name files of this machine, which a
                folder cannot hold.
        """
        saved = SavedModel.of(run)
        outside = outside_settings(saved.record.settings)
        if outside:
            raise RunError(
                f"{run.path}: cannot be exported: {', '.join(outside)} names a place on this "
                "machine, which would not be there elsewhere."
            )
        record = saved.record.model_copy(update={"card": described(saved, run)})
        object.__setattr__(saved, "record", record)
        return cls(saved)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # what the mixin reads itself is not checked
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Self:
        """Read a model's folder, or fetch one from the Hugging Face hub.

        Args:
            pretrained_model_name_or_path: a folder, or the name of a repository.
            force_download: fetch files that have been fetched before.
            token: for repositories that are not public; of ``hf auth login`` by default.
            cache_dir: where fetched files go; the hub's own cache by default.
            local_files_only: take what has been fetched before, and ask nobody.
            revision: a branch, a tag or a commit; ``main`` by default.

        Raises:
            RunError: no such folder or repository, or its files are damaged.
        """
        path = Path(pretrained_model_name_or_path).expanduser()
        if not path.is_dir():
            path = Path(
                _fetched(
                    str(pretrained_model_name_or_path),
                    force_download=force_download,
                    token=token,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    revision=revision,
                )
            )
        return cls(SavedModel.read(path))

    def export(self, folder: str | Path) -> Path:
        """Write the model's folder, which is not there before.

        Raises:
            RunError: the folder holds something, or cannot be written.
        """
        place = Path(folder).expanduser()
        if place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise RunError(f"{place}: is there already; name a new folder.")
        aside = place.with_name(f".{place.name}.tmp")
        with disk_errors_explained(place):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        try:
            self.save_pretrained(aside)
            with disk_errors_explained(place):
                if place.exists():
                    place.rmdir()
                aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return place

    def predict(
        self, data: Source | None = None, split: Part = "all", device: str | None = None
    ) -> Predicted:
        """Predict samples; see :meth:`FinishedRun.predict`."""
        from i2moe_plugin.benchmarks.run.trained import predict

        return predict(self.saved, data, split, device)

    def model(self) -> MultimodalModel:
        """Rebuild the network with its weights, in evaluation mode.

        Raises:
            RunError: weights that are damaged, or not of this model.
            DatasetError: the model's shapes are the data's, and these are not here.
        """
        from i2moe_plugin.benchmarks.run.trained import load_model

        return load_model(self.saved)

    def _repr_html_(self) -> str:
        """Return what it is, for a notebook."""
        record = self.saved.record
        settings = record.settings
        words = (
            f"{settings['method']} with {settings['fusion']} on {settings['dataset']}, "
            f"reads {', '.join(record.modalities)}"
        )
        figures = [] if record.card is None else record.card.figures
        rows = "".join(
            f"<tr><td>{html.escape(one.metric)}</td><td>{one.value:.4f}</td></tr>"
            for one in figures
            if one.value is not None
        )
        return f"<p>{html.escape(words)}</p><table>{rows}</table>"

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Write the model's card; arguments have no effect."""
        data, text = card_of(self.saved)
        return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")

    def _save_pretrained(self, save_directory: Path) -> None:
        self.saved.write(save_directory)


def _fetched(repository: str, **options: Any) -> str:
    """Fetch the files of a repository, and return the folder that holds them."""
    try:
        return str(snapshot_download(repository, allow_patterns=list(FILES), **options))
    except (OSError, ValueError) as error:  # all errors of the hub are of these kinds
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{repository}: no such folder, and no such repository could be fetched ({reason})."
        ) from error
