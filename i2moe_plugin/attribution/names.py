"""Names of what can be explained, and of ways to explain it; known without torch."""

#: The scope of what all experts say together.
MIXTURE = "mixture"
#: Ways to tell how much each token matters; the first is the control.
EXPLAINERS = {
    "random": "drawn evenly: the control",
    "rollout": "attention rollout",
    "gradient-rollout": "attention rollout weighted by gradients",
    "integrated-gradients": "integrated gradients from zero tokens",
}
#: The explainer that is taken unless another is asked for.
USUAL = "gradient-rollout"
