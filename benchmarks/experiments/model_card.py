"""The card of a model that is handed on: what it is, what it reached, how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2

from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.grid.runs import sampling_of
from i2moe_plugin.benchmarks.run.collect import runs_of_other_seeds
from i2moe_plugin.benchmarks.run.saved import CardFacts, Figure, SavedModel
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.metrics import format_value, method_title, metric_heading
from i2moe_plugin.benchmarks.statistics.paired import summarise
from i2moe_plugin.errors import RunError

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData


LIBRARY = "i2moe-plugin"
TAGS: tuple[str, ...] = (LIBRARY, "multimodal", "mixture-of-experts")
TEMPLATE = """\
# {{ title }}

{{ method }} over the fusion `{{ settings.fusion }}`, trained on {{ facts.dataset }} with seed
{{ settings.seed }} by i2moe-plugin {{ record.version }}
(the run `{{ facts.run }}`).

- **Reads**: {{ record.modalities | join(", ") }}
- **Predicts**: {{ task }}: {{ classes }}
{%- if record.experts %}
- **Experts**: {{ record.experts | join(", ") }}
{%- endif %}

## Figures

On {{ facts.samples }} test samples, which were looked at once, after the epoch was selected on
validation data.

| metric | this model | 95 % interval over test samples | mean ± deviation over seeds |
|---|---|---|---|
{%- for row in rows %}
| {{ row | join(" | ") }} |
{%- endfor %}

The interval draws the test samples anew, and leaves the model as it is. The last column is
{%- if facts.figures[0].seeds > 1 %} of {{ facts.figures[0].seeds }} runs that differ in the seed
alone{% else %} this run alone: others, of other seeds, were not beside it{% endif %}.
{%- for note in facts.notes %}

Note: {{ note }}
{%- endfor %}

## How to use it

```bash
pip install 'i2moe-plugin[hub]'
{%- if new_samples %}
i2moe-bench predict FOLDER --data NEW_SAMPLES -o predictions.csv
{%- else %}
i2moe-bench predict FOLDER --split test
{%- endif %}
```

```python
from i2moe_plugin import PretrainedModel

model = PretrainedModel.from_pretrained("FOLDER")  # or the name of a repository
{%- if new_samples %}
print(model.predict("NEW_SAMPLES").table)
{%- else %}
print(model.predict(split="test").table)
{%- endif %}
```
{% if new_samples %}
New samples are read by what was fitted in training: `preprocessing.safetensors` holds it.
{%- else %}
It predicts samples of its own data set, which has to be there: `i2moe-bench data describe
{{ settings.dataset }}`.
{%- endif %}
{%- if own_code %}
The fusion `{{ settings.fusion }}` is not part of i2moe-plugin: load the file that registers it
first (`--plugin FILE`, `i2moe_plugin.load_plugin`).
{%- endif %}

## Data and licence

- **Data set**: {{ facts.dataset }}
- **Source**: {{ facts.source }}
- **Licence of the data**: {{ facts.licence }}
{%- if facts.citation %}
- **Citation of the data**: {{ facts.citation }}
{%- endif %}

Whoever publishes this model says under which licence; `license: unknown` stands above until then.

## Limits

The figures are of one split of one data set. Weights say how the experts were mixed, and not what
caused a prediction.
"""


def described(saved: SavedModel, run: Run) -> CardFacts:
    """Gather what a card says of a run.

    Args:
        saved: the run's model.
        run: a finished run; those of its other seeds are looked for beside it.

    Raises:
        RunError: the run is damaged.
    """
    outputs, result = run.interpretable(), run.result
    beside = [run, *runs_of_other_seeds(run)]
    first = str(result.get("headline", result["metric"]))
    names = [name for name in outputs.task.metric_names if name in result["test"]]
    names.sort(key=lambda name: name != first)
    figures, intervals = [], sampling_of([run]).intervals
    for name in names:
        values = [one.result["test"].get(name) for one in beside]
        known = [value for value in values if value is not None]
        over = summarise(known) if known else {"mean": None, "deviation": None}
        low, high = intervals[name] or (None, None)
        figures.append(
            Figure(
                metric=name,
                value=result["test"][name],
                low=low,
                high=high,
                mean=over["mean"],
                deviation=over["deviation"],
                seeds=len(beside),
            )
        )
    if not figures:
        raise RunError(f"{run.path}: has none of the metrics of its task.")
    card = datasets.get(run.settings["dataset"]).card
    words = {
        "dataset": card.title,
        "source": card.source,
        "licence": card.licence,
        "citation": card.citation,
    }
    if saved.reads_new_samples:  # the folder's own words; the folder itself need not be here
        own = saved.learned().facts.get("description", {})
        for key, missing in (
            ("dataset", own.get("name", "a folder")),
            ("source", "its owner's own"),
            ("licence", "not told"),
            ("citation", ""),
        ):
            words[key] = str(own.get("title" if key == "dataset" else key) or missing)
    return CardFacts(
        run=run.name, notes=list(result["notes"]), samples=len(outputs), figures=figures, **words
    )


def card_of(saved: SavedModel) -> tuple[ModelCardData, str]:
    """Write the card of a model.

    Returns:
        what stands in its front matter, and the text below.

    Raises:
        RunError: the model does not say what its card needs.
    """
    from huggingface_hub import EvalResult, ModelCardData

    record, facts = saved.record, saved.record.card
    if facts is None:
        raise RunError(f"{saved.path}: does not say what the card of a model needs.")
    settings, task = saved.settings("cpu"), saved.task
    title = f"{method_title(settings.method)} with {settings.fusion} on {facts.dataset}"
    results = [
        EvalResult(
            task_type=task.name,
            dataset_type=settings.dataset,
            dataset_name=facts.dataset,
            dataset_split="test",
            metric_type=one.metric,
            metric_name=metric_heading(one.metric).removesuffix(" %"),
            metric_value=one.value,
        )
        for one in facts.figures
        if one.value is not None
    ]
    data = ModelCardData(
        license="unknown",
        library_name=LIBRARY,
        tags=list(TAGS),
        metrics=[one.metric for one in facts.figures],
        model_name=title,
        eval_results=results,
    )
    text = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return data, text.from_string(TEMPLATE).render(
        title=title,
        record=record,
        settings=settings,
        facts=facts,
        method=method_title(settings.method),
        task=task.name,
        classes=", ".join(record.class_names[:20])
        + (" ..." if len(record.class_names) > 20 else ""),
        rows=[_row(one) for one in facts.figures],
        new_samples=saved.reads_new_samples,
        own_code=_own_code(settings.fusion),
    )


def _row(one: Figure) -> list[str]:
    def said(value: float | None) -> str:
        return format_value(one.metric, value)

    interval = "undefined" if one.low is None else f"{said(one.low)} to {said(one.high)}"
    over = said(one.mean) if one.deviation is None else f"{said(one.mean)} ± {said(one.deviation)}"
    return [metric_heading(one.metric), said(one.value), interval, over]


def _own_code(fusion: str) -> bool:
    from i2moe_plugin.backbones.entry import backbones

    entry: Any = backbones.get(fusion)
    return not str(entry.module).startswith("i2moe_plugin.")
