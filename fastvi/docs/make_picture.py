"""Draw ``bounds.png``, the picture of the README, from the study ``bounds``.

``python fastvi/docs/make_picture.py`` takes about 7 seconds of one core once the kernels are compiled.
"""

from __future__ import annotations

from pathlib import Path

from fastvi.studies.bounds.study import run
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings


def main() -> None:
    """Run the study with its default settings, and keep one of its pictures."""
    result = run(Settings(), no_progress)
    result.figures(result)["images"].figure.savefig(Path(__file__).with_name("bounds.png"), dpi=90)


if __name__ == "__main__":
    main()
