"""Script that makes data/digits.npz: ``python -m fastvi.datasets.make_digits``.

Only this script needs scikit-learn, whose ``load_digits`` holds the test part of the UCI set "Optical
Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, CC BY 4.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastvi.core.files import write_whole

# Each pixel counts the inked cells in a block of 16. Half of them is the threshold that does not favour paper
# or ink; strokes stay connected, and no image comes out empty (32 % of all pixels are ink).
INKED_CELLS = 8

DESTINATION = Path(__file__).parent / "data" / "digits.npz"


def main() -> None:
    """Write data/digits.npz: packed_images (1797, 8) uint8, a byte for a row of pixels; labels (1797,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    packed = np.packbits(data.data >= INKED_CELLS, axis=1)
    labels = data.target.astype(np.uint8)
    write_whole(
        DESTINATION,
        lambda file: np.savez_compressed(file, packed_images=packed, labels=labels),
    )


if __name__ == "__main__":
    main()
