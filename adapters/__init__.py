"""Built-in backbones, one file a family, each registered through the public decorator alone."""
