"""How the passes of an expert bank are run, never what they compute."""
