import math

import torch
from torch.testing import assert_close

from i2moe_plugin.adapters.nlgate import NonLocalGate


def test_recorded_output_and_gradients(recorded):
    def build(facts, parameters):
        fusion = NonLocalGate(
            [6, 5], num_queries=facts["thw_dim"], channels=facts["c_dim"], num_keys=facts["tf_dim"]
        )
        names = {"query": "qli", "key": "kli", "value": "vli"}
        fusion.load_state_dict(
            {
                f"{ours}.{part}": parameters[f"{theirs}.{part}"]
                for ours, theirs in names.items()
                for part in ("weight", "bias")
            }
        )
        return fusion

    recorded("nlgate", build)


def test_each_query_adds_a_weighted_mean_of_values():
    fusion = NonLocalGate([3, 4], num_queries=2, channels=3, num_keys=5).double()
    x, y = torch.randn(1, 3).double(), torch.randn(1, 4).double()
    q = fusion.query(x)[0].reshape(2, 3).tolist()
    k = fusion.key(y)[0].reshape(3, 5).tolist()
    v = fusion.value(y)[0].reshape(5, 3).tolist()
    expected = []
    for query in q:
        scores = [math.exp(sum(query[c] * k[c][s] for c in range(3))) for s in range(5)]
        expected += [
            query[c] + sum(score * v[s][c] for s, score in enumerate(scores)) / sum(scores)
            for c in range(3)
        ]
    assert_close(fusion([x, y])[0], torch.tensor(expected, dtype=torch.float64))
