from __future__ import annotations

import numpy as np
from PIL import Image

from make_docs_pictures import row_of_pictures


def test_the_row_of_pictures_is_kept_with_its_headings_of_two_lines() -> None:
    parts = [(10, 255), (80, 60), (20, 255)]  # the inputs: height and grey value
    parts += [(12, 20), (4, 255), (12, 30), (4, 255), (80, 90), (4, 255)]  # headings and pictures
    parts += [(12, 70), (10, 255)]  # seconds
    rows = [np.full((height, 50), grey, np.uint8) for height, grey in parts]
    kept = np.asarray(row_of_pictures(Image.fromarray(np.concatenate(rows))))
    greys = [grey for grey in kept[:, 0] if grey != 255]
    assert greys == [20] * 12 + [30] * 12 + [90] * 80
    assert kept[0, 0] == kept[-1, 0] == 255
