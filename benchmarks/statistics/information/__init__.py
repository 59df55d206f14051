"""Information in bits: of discrete joint distributions, and estimated from arrays."""
