"""Backbones: latents in, outputs out, whatever the fusion behind them returns."""
