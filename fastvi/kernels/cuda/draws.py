"""Random bits of given data and samples: those of ``kernels/cpu/random/draws.py``, bit for bit."""

from __future__ import annotations

from fastvi.kernels.cuda.target import INT64, array, cuda, kernel
from fastvi.kernels.philox import WORD, philox

THREADS = 256
_SECOND_WORDS = 1 << 31  # or-ed into the block of the generator


@kernel(
    array(INT64, 2), array(INT64, 2), INT64, INT64, array(INT64, 1), INT64, array(INT64, 3), threads=THREADS
)
def draw_states(high, low, key_low, key_high, numbers, first_sample, words):
    """Draw the bits of samples into ``words`` (N, num_words, K).

    Bit i % 32 of words[n, i // 32, k] is latent i of sample first_sample + k of datum numbers[n]. Thresholds
    ``high`` and ``low`` are (N, d), or (1, d) where all data share them.
    """
    n, k = cuda.blockIdx.y, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k >= words.shape[2]:
        return
    row = n if high.shape[0] > 1 else 0
    num_latents, sample, datum = high.shape[1], first_sample + k, numbers[n]
    for word in range(words.shape[1]):
        held = 0
        for first in range(32 * word, min(num_latents, 32 * word + 32), 4):
            block = first >> 2
            drawn = philox(block, sample & WORD, sample >> 32, datum, key_low, key_high)
            for i in range(4):
                if first + i < num_latents:
                    # a tuple takes constant indices only
                    bits = drawn[0] if i == 0 else drawn[1] if i == 1 else drawn[2] if i == 2 else drawn[3]
                    on = bits < high[row, first + i]
                    if bits == high[row, first + i]:  # once in 2^32 draws
                        more = philox(
                            block | _SECOND_WORDS, sample & WORD, sample >> 32, datum, key_low, key_high
                        )
                        second = more[0] if i == 0 else more[1] if i == 1 else more[2] if i == 2 else more[3]
                        on = second < low[row, first + i]
                    if on:
                        held |= 1 << ((first + i) & 31)
        words[n, word, k] = held
