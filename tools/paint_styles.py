"""Paint the styles of the sample pictures and write them into the package.

JPEG at quality 95 without chroma subsampling: PNG needs 2.3 MB for the four, JPEG 1.4 MB.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from painting import PAINTERS, paint

FOLDER = Path(__file__).parents[1] / "src" / "napari_nst" / "data" / "styles"


def main() -> None:
    """Paint each style and write it as JPEG."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for style in PAINTERS:
        picture = Image.fromarray(paint(style))
        picture.save(FOLDER / f"{style}.jpg", quality=95, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
