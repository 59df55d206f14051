"""MUStARD: 690 clips of television shows, sarcastic or not."""

from __future__ import annotations

from functools import partial

from i2moe_plugin.benchmarks.data.affect import AffectTask, affect_dataloader, register_affect
from i2moe_plugin.benchmarks.data.affect_file import pickle_of
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.datasets.samples.affect import Drawing, clip_names, draw, yes_or_no

CARD = Card(
    title="MUStARD: sarcasm in television shows",
    source="Castro, Hazarika, Perez-Rosas, Zimmermann, Mihalcea, Poria: ACL 2019; features and "
    "splits as MultiBench uses them; https://github.com/pliang279/MultiBench, "
    "https://github.com/soujanyaporia/MUStARD",
    licence="not stated with the pickle; annotations: see https://github.com/soujanyaporia/MUStARD",
    citation="Castro, Hazarika, Perez-Rosas, Zimmermann, Mihalcea, Poria. Towards Multimodal "
    "Sarcasm Detection (An _Obviously_ Perfect Paper). ACL 2019.",
    splits="the pickle's own train, valid and test, less clips whose text sums to 0; 690 clips "
    "in all, the parts are not published",
    files=(pickle_of("sarcasm.pkl", (371, 81, 300), "above 0: sarcastic", "the clip's name"),),
    how_to_get="MultiBench's README links the folder of sarcasm.pkl under 'Affective "
    "Computing': https://github.com/pliang279/MultiBench#affective-computing (Google Drive, by "
    "hand). --data-root takes the folder, or the pickle itself, whatever its name.",
)

#: Is it meant? MultiBench calls the data set ``sarcasm``.
CLASSES = AffectTask("classes", ("sincere", "sarcastic"), called="sarcasm")
mustard = register_affect(
    "mustard",
    CARD,
    CLASSES,
    draw=partial(draw, "sarcasm.pkl", Drawing((371, 81, 300), 20, yes_or_no, clip_names)),
)

get_dataloader = affect_dataloader("mustard", CLASSES)
