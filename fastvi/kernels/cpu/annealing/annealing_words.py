"""The random numbers of annealed importance sampling, as pure functions of (seed, datum, chain, step).

The key of the generator is the seed, the counter (block, step, chain, datum). All blocks have bit 29 set and
bits 30 and 28 clear, so that nothing is shared with ``draws``, ``normal_draws`` (bit 30) and
``component_draws`` (bits 29 and 28) of the same seed. The other bits of a block:

=====  =======================================================================================
31     the low halves of numbers of 64 bits, for units only (below)
27     log p(x) of data; clear for log Z of Boltzmann machines, whose "datum" is the layer, 0 or 1
26     chains that run from the model back to where others start
25     the pilot run that tunes step sizes
24-23  0 units, 1 momenta and first positions of continuous latents, 2 acceptance
22-0   the number of the block
=====  =======================================================================================

A binary unit is on where u < p 2^64 for a number u of 64 bits. Unit 16 g + 4 w + lane takes word w of block
4 g + lane for its high half. The low half decides only where p 2^32 lies within the word's unit interval
(once in 2^32 draws); it is the same word of the block with bit 31 set. Continuous latent i takes words
2 (i % 2) and 2 (i % 2) + 1 of block i // 2 as ``normal_draws`` does; of the acceptance block words 0 and 1
accept, words 2 and 3 vary the step size.

Limits: fewer than 2^24 units; datum, chain and step < 2^32.
"""

from __future__ import annotations

from fastvi.kernels.cpu.random.draw_words import LANES, NUM_WORDS, draw_words
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.philox import philox
from fastvi.kernels.scalar import exp_fast

MACHINES, DATA = 1 << 29, 1 << 29 | 1 << 27
REVERSED, PILOT = 1 << 26, 1 << 25
_MOMENTA, _ACCEPTANCE = 1 << 23, 2 << 23
_SECOND_WORDS = 1 << 31
TWO_32 = 4294967296.0


@inline
def fill_words(out, tag, step, chain, datum, key_low, key_high):
    """The words of all units; ``out`` holds a multiple of NUM_WORDS."""
    for at in range(0, out.size, NUM_WORDS):
        draw_words(out, at, tag | (at >> 2), step, chain, datum, key_low, key_high)


@inline
def settled(margin, unit, tag, step, chain, datum, key_low, key_high):
    """Whether the unit is on, for 0 < margin < 1: the low half of u decides."""
    block = tag | _SECOND_WORDS | (unit // NUM_WORDS * LANES + unit % LANES)
    w0, w1, w2, w3 = philox(block, step, chain, datum, key_low, key_high)
    which = unit % NUM_WORDS // LANES
    word = (w0 if which == 0 else w1) if which < 2 else (w2 if which == 2 else w3)
    return word < margin * TWO_32


@inline
def is_on(logit, word, unit, tag, step, chain, datum, key_low, key_high):
    """Whether a unit with these log odds is on; at infinite ones too."""
    margin = TWO_32 / (1.0 + exp_fast(-logit)) - word
    if 0.0 < margin < 1.0:
        return settled(margin, unit, tag, step, chain, datum, key_low, key_high)
    return margin >= 1.0


@inline
def _signed_tail(high, low):
    """A tail probability in (0, 1/2] with the sign that the normal number is to have."""
    tail = (float((high << 21) | (low >> 11)) + 0.5) * (1.0 / 18014398509481984.0)
    return tail if low & 1 == 0 else -tail


@kernel
def trajectory_numbers(tag, step, first, num_chains, key_low, key_high, tails, uniforms):
    """For row r, chain (first + r) % num_chains of datum (first + r) // num_chains: tails (rows, d) of
    momenta, and multiples of 2^-53 in [0, 1) (rows, 2) that accept and vary the step size.
    """
    for r in range(tails.shape[0]):
        datum, chain = (first + r) // num_chains, (first + r) % num_chains
        for begin in range(0, tails.shape[1], 2):
            w0, w1, w2, w3 = philox(tag | _MOMENTA | (begin >> 1), step, chain, datum, key_low, key_high)
            tails[r, begin] = _signed_tail(w0, w1)
            if begin + 1 < tails.shape[1]:
                tails[r, begin + 1] = _signed_tail(w2, w3)
        w0, w1, w2, w3 = philox(tag | _ACCEPTANCE, step, chain, datum, key_low, key_high)
        uniforms[r, 0] = float((w0 << 21) | (w1 >> 11)) * (1.0 / 9007199254740992.0)
        uniforms[r, 1] = float((w2 << 21) | (w3 >> 11)) * (1.0 / 9007199254740992.0)
