"""Which features carry a prediction, alone and in pairs (FL-I2MoE)."""
