"""UR-FUNNY: punchlines of talks, funny or not."""

from __future__ import annotations

from functools import partial

from i2moe_plugin.benchmarks.data.affect import AffectTask, affect_dataloader, register_affect
from i2moe_plugin.benchmarks.data.affect_file import pickle_of
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.datasets.samples.affect import Drawing, digits, draw, yes_or_no

CARD = Card(
    title="UR-FUNNY: humour in talks",
    source="Hasan, Rahman, Zadeh, Zhong, Tanveer, Morency, Hoque: EMNLP 2019; features and "
    "splits as MultiBench uses them; https://github.com/pliang279/MultiBench, "
    "https://github.com/ROC-HCI/UR-FUNNY",
    licence="not stated with the pickle; see https://github.com/ROC-HCI/UR-FUNNY",
    citation="Hasan, Rahman, Zadeh, Zhong, Tanveer, Morency, Hoque. UR-FUNNY: A Multimodal "
    "Language Dataset for Understanding Humor. EMNLP 2019.",
    splits="the pickle's own train, valid and test, less clips whose text sums to 0; 16,514 "
    "clips in all by MultiBench's paper, the parts are not published",
    files=(pickle_of("humor.pkl", (371, 81, 300), "1: funny, else 0", "the clip's number"),),
    how_to_get="MultiBench's README links the folder of humor.pkl under 'Affective "
    "Computing': https://github.com/pliang279/MultiBench#affective-computing (Google Drive, by "
    "hand). --data-root takes the folder, or the pickle itself, whatever its name.",
)

#: Does the audience laugh? MultiBench calls the data set ``humor``.
CLASSES = AffectTask("classes", ("not funny", "funny"), called="humor")
urfunny = register_affect(
    "urfunny",
    CARD,
    CLASSES,
    draw=partial(draw, "humor.pkl", Drawing((371, 81, 300), 20, yes_or_no, digits)),
)

get_dataloader = affect_dataloader("urfunny", CLASSES)
