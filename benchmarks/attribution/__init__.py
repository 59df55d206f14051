"""Which words and patches a trained run goes by, alone and in pairs."""
