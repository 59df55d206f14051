"""One run: its settings, model, training, files, and saved states."""
