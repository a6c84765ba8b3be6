"""Choice of a mixture's component for each sample, a pure function of (seed, datum, sample).

The key and the counter are those of ``draws``, with bits 28 and 29 of the block set, so that the choice
shares no word with bits, normal numbers or chains of the same seed. A component, or an open
subcube, is picked by a uniform number, a multiple of 2^-53 in [0, 1).
"""

from __future__ import annotations

from fastvi.kernels.jit import kernel
from fastvi.kernels.philox import WORD, philox

_COMPONENTS = 1 << 29 | 1 << 28  # the block


@kernel
def pick_components(cumulative, key_low, key_high, datum, first_sample, out):
    """Set out[k] to the first component with u_k < ``cumulative`` (C,).

    It is the last component where rounding leaves none.
    """
    for k in range(out.size):
        sample = first_sample + k
        w0, w1, _, _ = philox(_COMPONENTS, sample & WORD, sample >> 32, datum, key_low, key_high)
        u = ((w0 << 21) | (w1 >> 11)) * (1.0 / 9007199254740992.0)
        first, last = 0, cumulative.size - 1
        while first < last:
            middle = (first + last) >> 1
            if u < cumulative[middle]:
                last = middle
            else:
                first = middle + 1
        out[k] = first
