"""How fast the ensemble runs, and how far that is from what the machine allows."""
