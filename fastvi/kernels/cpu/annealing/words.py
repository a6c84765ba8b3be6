"""Random numbers of annealed importance sampling, functions of (seed, datum, chain, step).

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

Layers of restricted Boltzmann machines are drawn by numbers of 48 bits, as ``layer_draws.py`` says. Any other
unit is on where u < p 2^64 for a number u of 64 bits. Unit 16 g + 4 w + lane takes word w of block
4 g + lane for its high half. The low half decides only where p 2^32 lies within the word's unit interval
(once in 2^32 draws); it is the same word of the block with bit 31 set. Continuous latent i takes words
2 (i % 2) and 2 (i % 2) + 1 of block i // 2 as ``normal_draws`` does; of the acceptance block words 0 and 1
accept, words 2 and 3 vary the step size.

Limits: fewer than 2^24 units; datum, chain and step < 2^32.
"""

from __future__ import annotations

from typing import NamedTuple

from fastvi.kernels.cpu.random.draw_words import LANES, NUM_WORDS, draw_words
from fastvi.kernels.jit import inline, kernel
from fastvi.kernels.philox import philox
from fastvi.kernels.scalar import exp_fast

MACHINES, DATA = 1 << 29, 1 << 29 | 1 << 27
REVERSED, PILOT = 1 << 26, 1 << 25
_MOMENTA, _ACCEPTANCE = 1 << 23, 2 << 23
_SECOND_WORDS = 1 << 31
TWO_32 = 4294967296.0


class Counter(NamedTuple):
    """Generator's counter and key of one chain at one step. Units differ in the block's low bits."""

    tag: int
    step: int
    chain: int
    datum: int
    key_low: int
    key_high: int


class Walk(NamedTuple):
    """Places first_place ... last_place - 1 that rows of chains pass, and the key of their draws.

    Row r is chain (first + r) % num_chains of datum (first + r) // num_chains. Place 0 draws the state. Place
    k weighs it for temperature k / num_steps and moves it there; the last place does not move. With the bit
    REVERSED in ``tag`` states are given. Then place k weighs them for step s = num_steps + 1 - k and moves
    them at the temperature before it; the last place does not move.
    """

    first_place: int
    last_place: int
    num_steps: int
    num_chains: int
    first: int
    tag: int
    key_low: int
    key_high: int


@inline
def counter_at_start(walk, r):
    """Counter of row ``r`` at step 0."""
    row = walk.first + r
    return Counter(walk.tag, 0, row % walk.num_chains, row // walk.num_chains, walk.key_low, walk.key_high)


@inline
def counter_at(step, start):
    """Counter of the chain of ``start`` at another step: no division, as many steps are short."""
    return Counter(start.tag, step, start.chain, start.datum, start.key_low, start.key_high)


@inline
def fill_words(out, counter):
    """Write the words of all units to ``out``, whose size is a multiple of NUM_WORDS."""
    for at in range(0, out.size, NUM_WORDS):
        draw_words(
            out, at, counter.tag | (at >> 2), counter.step, counter.chain, counter.datum, counter.key_low,
            counter.key_high,
        )  # fmt: skip


@inline
def settled(margin, unit, counter):
    """Tell by the low half of u whether the unit is on, for 0 < margin < 1."""
    block = counter.tag | _SECOND_WORDS | (unit // NUM_WORDS * LANES + unit % LANES)
    w0, w1, w2, w3 = philox(
        block, counter.step, counter.chain, counter.datum, counter.key_low, counter.key_high
    )
    which = unit % NUM_WORDS // LANES
    word = (w0 if which == 0 else w1) if which < 2 else (w2 if which == 2 else w3)
    return word < margin * TWO_32


@inline
def is_on(logit, word, unit, counter):
    """Tell whether a unit with these log odds is on. They may be infinite."""
    margin = TWO_32 / (1.0 + exp_fast(-logit)) - word
    if 0.0 < margin < 1.0:
        return settled(margin, unit, counter)
    return margin >= 1.0


@inline
def draw_units(base, counter, words, z):
    """Draw the first state ``z`` (d,) of a chain: independent units with log odds ``base`` (d,)."""
    fill_words(words, counter)
    for i in range(base.size):
        z[i] = 1 if is_on(base[i], words[i], i, counter) else 0


@inline
def _signed_tail(high, low):
    """Return a tail probability in (0, 1/2] with the sign that the normal number is to have."""
    tail = (float((high << 21) | (low >> 11)) + 0.5) * (1.0 / 18014398509481984.0)
    return tail if low & 1 == 0 else -tail


@kernel
def trajectory_numbers(tag, step, first, num_chains, key_low, key_high, tails, uniforms):
    """Write the random numbers of trajectories: tails (rows, d) of momenta, and uniforms (rows, 2).

    Row r is chain (first + r) % num_chains of datum (first + r) // num_chains. Uniforms are multiples of
    2^-53 in [0, 1). They accept a trajectory and vary its step size.
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
