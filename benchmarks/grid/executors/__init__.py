"""How the runs of a grid are executed: one after another, or in processes."""
