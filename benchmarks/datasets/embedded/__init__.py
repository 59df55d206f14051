"""The data sets that ship in the package."""

from pathlib import Path

#: Where their files lie.
EMBEDDED = Path(__file__).parent
