"""Standard normal numbers for given data and samples, as pure functions of (seed, datum, sample).

The key and the counter are those of ``draws``, with bit 30 of the block set, so that normal numbers share no
word with bits drawn from the same seed: latent i takes words 2 (i % 2) and 2 (i % 2) + 1 of block
2^30 + i // 2. One of their 64 bits is the sign; 53 are m of a tail probability (m + 1/2) 2^-54, which lies in
(0, 1/2], never at 0; the inverse normal distribution function makes the number's size of it (at most 8.38).

Limits: datum < 2^32, sample < 2^63, fewer than 2^31 latents.
"""

from __future__ import annotations

import numpy as np

from fastvi.kernels.cpu.random.draws import split_seed
from fastvi.kernels.jit import kernel
from fastvi.kernels.philox import WORD, philox

_NORMALS = 1 << 30  # or-ed into the block


@kernel
def fill_signed_tails(key_low, key_high, datum, first_sample, out):
    """Set out (num, d) to tail probabilities in (0, 1/2], with the sign that the number is to have."""
    for k in range(out.shape[0]):
        sample = first_sample + k
        for first in range(0, out.shape[1], 2):
            words = philox(_NORMALS | (first >> 1), sample & WORD, sample >> 32, datum, key_low, key_high)
            for i in range(first, min(first + 2, out.shape[1])):
                high, low = words[2 * (i - first)], words[2 * (i - first) + 1]
                tail = (float((high << 21) | (low >> 11)) + 0.5) * (1.0 / 18014398509481984.0)
                out[k, i] = tail if low & 1 == 0 else -tail


def standard_normals(
    num: int, num_data: int, num_latents: int, seed: int, first_datum: int = 0, first_sample: int = 0
) -> np.ndarray:
    """Draw (num, N, d) normal numbers as float64, for data first_datum + n and samples first_sample + k."""
    from scipy.special import ndtri

    draws = np.empty((num, num_data, num_latents))
    tails = np.empty((num, num_latents))
    key_low, key_high = split_seed(seed)
    for n in range(num_data):
        fill_signed_tails(key_low, key_high, first_datum + n, first_sample, tails)
        draws[:, n] = np.copysign(ndtri(np.abs(tails)), tails)
    return draws
