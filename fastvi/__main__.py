"""``python -m fastvi`` is the command ``fastvi``."""

from __future__ import annotations

from fastvi.cli import main

if __name__ == "__main__":
    main()
