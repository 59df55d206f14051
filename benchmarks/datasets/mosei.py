"""CMU-MOSEI: clips of a thousand speakers, with a sentiment from -3 to 3."""

from __future__ import annotations

from functools import partial

from i2moe_plugin.benchmarks.data.affect import AffectTask, affect_dataloader, register_affect
from i2moe_plugin.benchmarks.data.affect_file import pickle_of
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.datasets.samples.affect import Drawing, clips, draw, sentiment

CARD = Card(
    title="CMU-MOSEI: sentiment of spoken opinions",
    source="Zadeh, Liang, Poria, Cambria, Morency: CMU-MOSEI, ACL 2018; features and splits as "
    "MultiBench uses them; https://github.com/pliang279/MultiBench",
    licence="not stated with the pickle; for research, see the CMU Multimodal SDK, "
    "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
    citation="Zadeh, Liang, Poria, Cambria, Morency. Multimodal Language Analysis in the Wild: "
    "CMU-MOSEI Dataset and Interpretable Dynamic Fusion Graph. ACL 2018.",
    splits="the pickle's own train, valid and test, less clips whose text sums to 0; "
    "22,777 clips in all by MultiBench's paper, the parts are not published",
    files=(
        pickle_of(
            "mosei_senti_data.pkl",
            (35, 74, 300),
            "sentiment from -3 to 3",
            "video, start and end in seconds",
        ),
    ),
    sizes=(("T", 50),),
    how_to_get="MultiBench's README links the folder of mosei_senti_data.pkl under 'Affective "
    "Computing': https://github.com/pliang279/MultiBench#affective-computing (Google Drive, by "
    "hand). --data-root takes the folder, or the pickle itself, whatever its name.",
)

#: The sentiment as a value, judged by its sign too: MultiBench's task, L1 its loss.
SCORES = AffectTask("scores", ("sentiment",), called="mosei", criterion="mae")
mosei = register_affect(
    "mosei",
    CARD,
    SCORES,
    metric="accuracy_nonzero",
    selection="loss",
    draw=partial(draw, "mosei_senti_data.pkl", Drawing((35, 74, 300), 50, sentiment, clips)),
)

get_dataloader = affect_dataloader("mosei", SCORES)
