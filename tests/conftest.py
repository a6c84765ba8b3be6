"""Settings that all tests share."""

from __future__ import annotations

import hypothesis

# no deadline: the first example of a test compiles kernels
hypothesis.settings.register_profile("fastvi", deadline=None, max_examples=50)
hypothesis.settings.load_profile("fastvi")
