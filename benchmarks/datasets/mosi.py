"""CMU-MOSI: 2,199 clips of people who speak of films, with a sentiment from -3 to 3."""

from __future__ import annotations

from functools import partial

from i2moe_plugin.benchmarks.data.affect import AffectTask, affect_dataloader, register_affect
from i2moe_plugin.benchmarks.data.affect_file import pickle_of
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.datasets.samples.affect import Drawing, clips, draw, sentiment

CARD = Card(
    title="CMU-MOSI: sentiment of spoken film reviews",
    source="Zadeh, Zellers, Pincus, Morency: MOSI, 2016; features and splits as MultiBench and "
    "I2MoE's code use them; https://github.com/pliang279/MultiBench",
    licence="not stated with the pickle; for research, see the CMU Multimodal SDK, "
    "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
    citation="Zadeh, Zellers, Pincus, Morency. MOSI: Multimodal Corpus of Sentiment Intensity and "
    "Subjectivity Analysis in Online Opinion Videos. arXiv 1606.06259, 2016.",
    splits="the pickle's own train, valid and test: 1,284, 229 and 686 clips, less those whose "
    "text sums to 0",
    files=(
        pickle_of(
            "mosi_data.pkl",
            (20, 5, 300),
            "sentiment from -3 to 3, [N, 1, 1]",
            "video, start and end in seconds, [N, 3]",
        ),
    ),
    sizes=(("train", 1284), ("valid", 229), ("test", 686), ("T", 50)),
    how_to_get="MultiBench's README links the folder of mosi_data.pkl under 'Affective Computing': "
    "https://github.com/pliang279/MultiBench#affective-computing (Google Drive, by hand). "
    "--data-root takes the folder, or the pickle itself, whatever its name: mosi_raw.pkl too.",
)
DRAW = partial(draw, "mosi_data.pkl", Drawing((20, 5, 300), 50, sentiment, clips))

#: A sentiment above zero, or not (zero is not).
SIGNS = AffectTask("signs", ("not positive", "positive"), called="mosi")
mosi = register_affect("mosi", CARD, SIGNS, draw=DRAW)

#: The sentiment as a value; the epoch is selected by the smooth L1 loss, as in I2MoE.
SCORES = AffectTask("scores", ("sentiment",), called="mosi")
mosi_regression = register_affect("mosi-regression", CARD, SCORES, selection="loss", draw=DRAW)

get_dataloader = affect_dataloader("mosi", SIGNS)
