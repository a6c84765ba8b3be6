"""Amortised variational distributions: a network makes q(z | x) of x."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import options, validation
from fastvi.core.frozen import Frozen
from fastvi.core.options import Activation, Family
from fastvi.core.seeds import takes_rng
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.layers import clean_layers, layer_arrays, take_layers
from fastvi.distributions.normal import Normal
from fastvi.formats.torch_layers import read_network


class Encoder(Frozen):
    """Feed-forward network from a datum to the parameters of its variational distribution q(z | x).

    With layers (W_1, b_1) ... (W_L, b_L) and an activation f, applied elementwise,

        h_0 = x,    h_l = f(W_l h_(l-1) + b_l) for l < L,    y = W_L h_(L-1) + b_L,

    family "bernoulli" takes y for the logits of a :class:`~fastvi.Bernoulli`, family "normal" its first half
    for the means and its second half for the logarithms of the standard deviations of a
    :class:`~fastvi.Normal`. ``encoder(x)`` is that distribution, of parameters (N, d).

    Parameters
    ----------
    layers : sequence of (weight, bias)
        At least one pair of array_like (out, in) and (out,), finite. The first ``in`` is D, each other the
        ``out`` before it, the last ``out`` is d, or 2 d where the family is "normal".
    activation : "relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu" or "identity"
        f, after every layer but the last, as :class:`~fastvi.NeuralDecoder` has them.
    family : "bernoulli" or "normal"

    Attributes
    ----------
    layers : tuple of (weight, bias)
        Arrays float64, read-only.
    activation, family : str
    num_pixels, num_latents : int
        D and d.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, for unknown words, for an odd number of
        outputs of family "normal", and for weights so large that a unit overflows where all |x_j| <= 1.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR (2014), section 3.

    Examples
    --------
    >>> import fastvi
    >>> encoder = fastvi.Encoder([([[1.0, -1.0]], [0.5])], "tanh")
    >>> encoder([[1, 0], [0, 1]]).logits
    array([[ 1.5],
           [-0.5]])
    >>> encoder.num_pixels, encoder.num_latents
    (2, 1)

    Family "normal" has twice the outputs, means and logarithms of standard deviations:

    >>> real = fastvi.Encoder([([[1.0, -1.0], [0.0, 0.0]], [0.5, 0.0])], "tanh", "normal")
    >>> real([[1, 0]]).mean, real([[1, 0]]).std
    (array([[1.5]]), array([[1.]]))
    """

    layers: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    activation: Activation
    family: Family
    num_pixels: int
    num_latents: int

    def __init__(
        self,
        layers: Sequence[tuple[ArrayLike, ArrayLike]],
        activation: Activation,
        family: Family = "bernoulli",
    ) -> None:
        activation = validation.choice(activation, "activation", options.ACTIVATIONS)
        family = validation.choice(family, "family", options.FAMILIES)
        clean = clean_layers(layers, activation)
        num_outputs = len(clean[-1][1])
        if family == "normal" and num_outputs % 2:
            raise ValueError(f"layers must end in an even number of outputs for 'normal', got {num_outputs}")
        num_latents = num_outputs // 2 if family == "normal" else num_outputs
        if num_latents < 1:
            raise ValueError("layers must end in at least 1 latent, got none")
        self._set(
            layers=clean,
            activation=activation,
            family=family,
            num_pixels=clean[0][0].shape[1],
            num_latents=num_latents,
        )

    @classmethod
    @takes_rng
    def random(  # noqa: PLR0913 (sizes, and how they are drawn)
        cls,
        num_pixels: int,
        hidden: int | Sequence[int],
        num_latents: int,
        seed: int = 0,
        *,
        rng: np.random.Generator | None = None,
        activation: Activation = "tanh",
        family: Family = "bernoulli",
    ) -> Self:
        """Encoder with random weights to start a fit: weights from N(0, 1 / in), biases 0.

        Parameters
        ----------
        num_pixels, num_latents : int
            D and d, at least 1.
        hidden : int or sequence of int
            Units of the hidden layer, or of each of several; an empty sequence for a single layer.
        seed : int
            0 <= seed < 2**64.
        rng : numpy.random.Generator, optional
            Gives the seed, in place of ``seed``.
        activation : str
            As in the constructor.
        family : "bernoulli" or "normal"

        Raises
        ------
        ValueError, TypeError
            For sizes that are not whole numbers of at least 1, for a wrong seed, for unknown words.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Encoder.random(64, 16, 8, seed=1)
        Encoder(num_pixels=64, num_latents=8, widths=(16,), activation='tanh', family='bernoulli')
        """
        num_pixels = validation.positive_int(num_pixels, "num_pixels")
        if isinstance(hidden, list | tuple):
            widths = [validation.positive_int(width, f"hidden[{i}]") for i, width in enumerate(hidden)]
        else:
            widths = [validation.positive_int(hidden, "hidden")]
        num_latents = validation.positive_int(num_latents, "num_latents")
        generator = np.random.Generator(np.random.Philox(key=validation.seed(seed)))
        family = validation.choice(family, "family", options.FAMILIES)
        sizes = (num_pixels, *widths, 2 * num_latents if family == "normal" else num_latents)
        layers = [
            (generator.standard_normal((out, into)) / into**0.5, np.zeros(out))
            for into, out in pairwise(sizes)
        ]
        return cls(layers, activation, family)

    @classmethod
    def from_torch(
        cls, module: Any, family: Family = "bernoulli", *, activation: Activation | None = None
    ) -> Self:
        """Encoder with the layers of a network of PyTorch, in float64.

        The module may hold what that of :meth:`fastvi.NeuralDecoder.from_torch` may.

        Parameters
        ----------
        module : torch.nn.Sequential, torch.nn.Linear, or state dict
            Its last Linear layer gives the logits; of family "normal" first d means, and then d logarithms of
            standard deviations. Two heads become one layer by ``torch.cat`` of their weights and biases. One
            that gives log variances has to be halved: weights and bias.
        family : "bernoulli" or "normal"
        activation : str
            Given exactly where ``module`` is a state dict, which does not hold it.

        Raises
        ------
        ValueError, TypeError
            As :meth:`fastvi.NeuralDecoder.from_torch`, and as the constructor.

        Examples
        --------
        >>> import fastvi, numpy
        >>> state = {"weight": numpy.array([[1.0, -1.0]]), "bias": numpy.array([0.5])}
        >>> fastvi.Encoder.from_torch(state, activation="identity")([[1, 0]]).logits
        array([[1.5]])
        """
        family = validation.choice(family, "family", options.FAMILIES)
        outputs = "logits" if family == "bernoulli" else "means and logarithms of standard deviations"
        layers, name = read_network(module, activation, outputs)
        return cls(layers, cast(Activation, name), family)

    def __repr__(self) -> str:
        widths = tuple(len(bias) for _, bias in self.layers[:-1])
        return (
            f"Encoder(num_pixels={self.num_pixels}, num_latents={self.num_latents}, widths={widths}, "
            f"activation={self.activation!r}, family={self.family!r})"
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        words = {"activation": np.array(self.activation), "family": np.array(self.family)}
        return words | layer_arrays(self.layers)

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        rest = dict(arrays)
        # the constructor refuses other words
        activation = cast(Activation, str(rest.pop("activation")))
        family = cast(Family, str(rest.pop("family")))
        layers = take_layers(rest)
        if rest:
            raise TypeError(f"unexpected array {min(rest)!r}")
        return cls(layers, activation, family)

    def __call__(self, x: ArrayLike) -> Bernoulli | Normal:
        """Return q(z | x_n) of each datum.

        Parameters
        ----------
        x : array_like of finite real numbers, (N, D)

        Returns
        -------
        Bernoulli or Normal
            Its parameters are (N, d), with equal bits for a datum in any batch and any number of threads.

        Raises
        ------
        ValueError, TypeError
            For x of another shape or that is not finite, and where it makes the network overflow or a
            standard deviation 0 or infinite.
        """
        data = validation.real_matrix(x, "x", self.num_pixels)
        # imported here, so that distributions do not import numba
        from fastvi.engine.decoder.layers import Layers

        with np.errstate(over="ignore", invalid="ignore"):
            hidden = Layers(self.layers, self.activation).inputs(data)[-1]
            # NumPy may take another loop, of other last bits, for what is not contiguous
            mean, log_std = (np.ascontiguousarray(half) for half in np.split(hidden, [self.num_latents], 1))
            if self.family == "bernoulli":
                _require(np.isfinite(mean), "logits finite")
                return Bernoulli(mean)
            std = np.exp(log_std)
            _require(np.isfinite(np.abs(mean) + 9.0 * std), "means and standard deviations finite")
        _require(std > 0, "standard deviations > 0")
        return Normal(mean, std)


def _require(good: NDArray[np.bool_], what: str) -> None:
    """Raise a ValueError that names the first datum for which ``good`` does not hold."""
    if not good.all():
        first = int(np.argmin(good.all(axis=1)))
        raise ValueError(f"x must keep the encoder's {what}, got a datum that does not at index {first}")
