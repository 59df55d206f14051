"""A top-level name that an installed package has too."""

STANDIN = True
