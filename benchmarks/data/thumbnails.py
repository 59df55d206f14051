"""Small pictures as data addresses, for pages and records."""

from __future__ import annotations

import base64
import io
from typing import Any

from numpy.typing import NDArray

THUMBNAIL = 112  # pixels of the longer side, at most


def thumbnail(picture: NDArray[Any]) -> str:
    """Return a small WebP of a picture, uint8 [H, W, 3], as a data address."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=55, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
