"""Pixels given latents through a feed-forward neural network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, cut, in_blocks
from fastvi.core.functions import ACTIVATIONS, bernoulli_log_prob, normal_log_prob, sigmoid
from fastvi.core.options import LIKELIHOODS, Activation, Likelihood
from fastvi.core.seeds import takes_rng
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.layers import clean_layers
from fastvi.distributions.normal import Normal
from fastvi.formats.torch_layers import read_network
from fastvi.models.base import LatentVariableModel, Pairs


class NeuralDecoder(LatentVariableModel):
    """Decoder of an autoencoder: a neural network makes the parameters of the pixels of the latents.

        p(x, z) = p(z) prod_j p(x_j | eta_j(z)), eta a neural network.

    With layers (W_1, b_1) ... (W_L, b_L) and an activation f, applied elementwise,

        h_0 = z,    h_l = f(W_l h_(l-1) + b_l) for l < L,    eta = W_L h_(L-1) + b_L.

    The likelihood "bernoulli" takes eta for logits of binary pixels, "gaussian" for means of real ones:

        log p(x | z) = sum_j [x_j eta_j - softplus(eta_j)],
        log p(x | z) = sum_j [-(x_j - eta_j)^2 / (2 noise_std^2) - log(noise_std sqrt(2 pi))].

    Parameters
    ----------
    layers : sequence of (weight, bias)
        At least one pair of array_like (out, in) and (out,), finite. The first ``in`` is d, each other the
        ``out`` before it, the last ``out`` is D.
    activation : "relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu" or "identity"
        f, after every layer but the last. "leaky_relu" is 0.01 t below 0, "elu" exp(t) - 1; "gelu" is
        t Phi(t) with the normal distribution function Phi, "silu" t sigmoid(t).
    prior : Bernoulli or Normal
        p(z) with parameters (d,): binary or continuous latents. The logits of a Bernoulli must be finite.
    likelihood : "bernoulli" or "gaussian"
    noise_std : float, > 0
        Standard deviation of a pixel, in the unit of x; given exactly where the likelihood is "gaussian".

    Attributes
    ----------
    layers : tuple of (weight, bias)
        Arrays float64, read-only.
    activation, likelihood : str
    prior : Bernoulli or Normal
        A Uniform is kept as the Bernoulli that it is.
    noise_std : float or None
    num_pixels, num_latents : int
        D and d.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, for unknown words, for weights so large
        that a unit overflows where all |z_i| <= 1, and for noise_std given or missing against the likelihood.

    Notes
    -----
    Exact questions sum over the states of a Bernoulli prior; units that "relu" turns off in
    neighbouring states cost nothing. Under a Normal prior of up to 3 latents :func:`~fastvi.log_marginal`
    integrates by a trapezoid rule in coordinates of each datum's posterior, refined until log p(x) moves by
    no more than 1e-8 max(1, |log p(x)|). Data that 2^21 to 2^23 nodes do not suffice for ("relu",
    "leaky_relu" and "elu" with 3 latents, often) get the best value found, and an
    :class:`~fastvi.AccuracyWarning` names them.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR (2014), appendix C.

    Examples
    --------
    >>> import fastvi
    >>> layers = [([[1.0], [-1.0]], [0.0, 0.5]), ([[2.0, 1.0]], [-1.0])]
    >>> model = fastvi.NeuralDecoder(layers, "relu", fastvi.Bernoulli([0.0]))
    >>> model.log_joint([[1], [0]], [1])
    array([-1.00640887, -2.00640887])
    >>> real = fastvi.NeuralDecoder(layers, "tanh", fastvi.Normal([0.0], [1.0]), "gaussian", noise_std=0.1)
    >>> real.log_joint([0.5], [0.2])
    array(-32.67994339)
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activation: str
    prior: Bernoulli | Normal
    likelihood: str
    noise_std: float | None
    num_pixels: int
    num_latents: int

    def __init__(
        self,
        layers: Sequence[tuple[ArrayLike, ArrayLike]],
        activation: str,
        prior: Bernoulli | Normal,
        likelihood: str = "bernoulli",
        noise_std: float | None = None,
    ) -> None:
        activation = validation.choice(activation, "activation", ACTIVATIONS)
        likelihood = validation.choice(likelihood, "likelihood", LIKELIHOODS)
        prior = _clean_prior(prior)
        clean = clean_layers(layers, activation, prior.num_latents)
        if likelihood == "bernoulli" and noise_std is not None:
            came = validation.shown(noise_std)
            raise TypeError(f"noise_std must be None where the likelihood is 'bernoulli', got {came}")
        self._set(
            layers=clean,
            activation=activation,
            prior=prior,
            likelihood=likelihood,
            noise_std=None
            if likelihood == "bernoulli"
            else validation.positive_float(noise_std, "noise_std"),
            num_pixels=len(clean[-1][1]),
            num_latents=prior.num_latents,
        )

    @classmethod
    def from_torch(
        cls,
        module: Any,
        prior: Bernoulli | Normal,
        likelihood: Likelihood = "bernoulli",
        noise_std: float | None = None,
        *,
        activation: Activation | None = None,
    ) -> Self:
        """Decoder with the layers of a network of PyTorch, in float64.

        Batch normalisation is folded into the Linear layer beside it. Dropout and a Flatten at the start are
        left out. PyTorch itself is not needed where ``module`` is a state dict of arrays.

        Parameters
        ----------
        module : torch.nn.Sequential, torch.nn.Linear, or state dict
            Linear layers and the activations between them, also nested. All activations are of one kind, with
            the settings that PyTorch gives by itself. The last Linear layer gives eta: leave a last Sigmoid
            out. In a state dict only Linear layers may occur.
        prior : Bernoulli or Normal
        likelihood : "bernoulli" or "gaussian"
        noise_std : float, > 0
            As in the constructor.
        activation : str
            Given exactly where ``module`` is a state dict, which does not hold it.

        Raises
        ------
        ValueError, TypeError
            For layers of another kind or with other settings, named by their places; for batch normalisation
            in training mode; for shapes that do not fit, as pairs of ``layers``.

        Notes
        -----
        PyTorch takes softplus(t) for t above 20, which is off by 2e-9. fastvi does not.

        Examples
        --------
        >>> import fastvi, numpy
        >>> state = {"0.weight": numpy.eye(2), "0.bias": numpy.zeros(2), "2.weight": numpy.ones((3, 2))}
        >>> model = fastvi.NeuralDecoder.from_torch(state, fastvi.Bernoulli([0.0, 0.0]), activation="gelu")
        >>> model.num_pixels, model.num_latents, model.activation
        (3, 2, 'gelu')
        """
        likelihood = validation.choice(likelihood, "likelihood", LIKELIHOODS)
        outputs = "means" if likelihood == "gaussian" else "logits"
        layers, name = read_network(module, activation, outputs)
        prior, num_inputs = _clean_prior(prior), layers[0][0].shape[1]
        if prior.num_latents != num_inputs:
            raise ValueError(
                f"prior must have the {num_inputs} latents that the module takes in, got {prior.num_latents}"
            )
        return cls(layers, name, prior, likelihood, noise_std)

    def __repr__(self) -> str:
        widths = tuple(len(bias) for _, bias in self.layers[:-1])
        return (
            f"NeuralDecoder(num_pixels={self.num_pixels}, num_latents={self.num_latents}, widths={widths}, "
            f"activation={self.activation!r}, prior={type(self.prior).__name__}, "
            f"likelihood={self.likelihood!r})"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {"activation": np.array(self.activation), "likelihood": np.array(self.likelihood)}
        for i, (weight, bias) in enumerate(self.layers):
            arrays[f"layer_{i}_weight"], arrays[f"layer_{i}_bias"] = weight, bias
        arrays.update({f"prior_{name}": array for name, array in self.prior.arrays().items()})
        if self.noise_std is not None:
            arrays["noise_std"] = np.array(self.noise_std)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        rest = dict(arrays)
        activation, likelihood = str(rest.pop("activation")), str(rest.pop("likelihood"))
        layers = [(rest.pop("layer_0_weight"), rest.pop("layer_0_bias"))]
        while f"layer_{len(layers)}_weight" in rest:
            i = len(layers)
            layers.append((rest.pop(f"layer_{i}_weight"), rest.pop(f"layer_{i}_bias")))
        prior: Bernoulli | Normal
        if "prior_logits" in rest:
            prior = Bernoulli(rest.pop("prior_logits"))
        else:
            prior = Normal(rest.pop("prior_mean"), rest.pop("prior_std"))
        noise_std: Any = rest.pop("noise_std", None)
        if rest:
            raise TypeError(f"unexpected array {min(rest)!r}")
        return cls(layers, activation, prior, likelihood, noise_std)

    @property
    def _width(self) -> int:
        """Numbers that one z needs in the widest layer."""
        return max(self.num_latents, *(len(bias) for _, bias in self.layers))

    def _decode(self, z: np.ndarray) -> np.ndarray:
        """eta(z), (..., D). Not by BLAS: its last bits depend on the number of threads."""
        if self.noise_std is None and isinstance(self.prior, Bernoulli):
            from fastvi.engine.decoder.large_logits import LargeLogits, are_large

            if are_large(self.layers, self.activation, np.zeros(0)):
                eta = LargeLogits(self.layers, self.activation)(
                    z.reshape(-1, self.num_latents).astype(np.float64)
                )
                return eta.reshape(*z.shape[:-1], self.num_pixels)
        hidden = z.astype(np.float64)
        activate = ACTIVATIONS[self.activation]
        # a z of a normal prior may be as large as it likes: what overflows is judged at the end
        with np.errstate(over="ignore", invalid="ignore"):
            for i, (weight, bias) in enumerate(self.layers):
                hidden = activate(hidden) if i else hidden
                hidden = np.einsum("...i,ji->...j", hidden, weight)
                hidden += bias
        if not np.isfinite(hidden).all():
            raise ValueError(
                "z must keep the decoder's outputs finite, got values of z that make them overflow"
            )
        return hidden

    def _add_log_likelihood(self, x: np.ndarray, eta: np.ndarray, out: np.ndarray) -> None:
        """Add log p(x | z) to ``out``."""
        if self.noise_std is None:
            out += bernoulli_log_prob(x, eta).sum(axis=-1)
        else:
            out += normal_log_prob(x, eta, self.noise_std).sum(axis=-1)

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Log p(x, z) in nats.

        Parameters
        ----------
        x : array_like, (..., D)
            0 and 1 where the likelihood is "bernoulli", finite real numbers where it is "gaussian".
        z : array_like, (..., d)
            0 and 1 under a Bernoulli prior, finite real numbers under a Normal one. The leading axes of x
            and z broadcast as in NumPy: ``log_joint(x[:, None], z[None])`` gives all pairs, (N, S). Each z
            is decoded once, however many x it meets.

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes.

        Examples
        --------
        >>> import fastvi
        >>> layers = [([[2.0], [-1.0]], [0.0, 0.5])]
        >>> binary = fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli([0.0]))
        >>> binary.log_joint([1, 0], [[0], [1]]).round(3)
        array([-2.36 , -1.294])
        >>> real = fastvi.NeuralDecoder(layers, "tanh", fastvi.Normal([0.0], [1.0]), "gaussian", 0.5)
        >>> real.log_joint([1.0, 0.5], [[0.0], [0.4]]).round(3)
        array([-3.371, -1.851])
        """
        check_x = validation.binary_array if self.noise_std is None else validation.real_array
        check_z = validation.binary_array if isinstance(self.prior, Bernoulli) else validation.real_array
        pixels, latents = check_x(x, "x", self.num_pixels), check_z(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", pixels.shape[:-1], "z[..., 0]", latents.shape[:-1])
        out = np.broadcast_to(self.prior.log_prob(latents), shape).copy()
        if out.size:
            self._add_over_latents(pixels, latents, out)
        return out

    def _add_over_latents(self, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
        """Add log p(x | z) to ``out``, halving the longest leading axis of z until a block can be decoded."""
        rows = z.size // self.num_latents
        if rows * self._width <= BLOCK or rows <= 1:
            in_blocks(self._add_log_likelihood, x, self._decode(z), out, self.num_pixels, BLOCK)
            return
        axis = int(np.argmax(z.shape[:-1])) - z.ndim + 1  # counted from the right, as broadcasting does
        for half in (slice(None, z.shape[axis - 1] // 2), slice(z.shape[axis - 1] // 2, None)):
            self._add_over_latents(cut(x, axis - 1, half), cut(z, axis - 1, half), cut(out, axis, half))

    @takes_rng
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Draw z from the prior and x given z.

        Parameters
        ----------
        num
            Number of draws, at least 0.
        seed
            0 <= seed < 2**64; the draws are a pure function of it.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        A named tuple of

        z : ndarray, (num, d)
            uint8 under a Bernoulli prior, float64 under a Normal one.
        x : ndarray, (num, D)
            uint8 where the likelihood is "bernoulli", float64 where it is "gaussian".

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.NeuralDecoder([([[2.0], [-1.0]], [0.0, 0.5])], "tanh", fastvi.Bernoulli([0.0]))
        >>> z, x = model.sample(10000, seed=0)
        >>> x[z[:, 0] == 1].mean(axis=0).round(1), x[z[:, 0] == 0].mean(axis=0).round(1)
        (array([0.9, 0.4]), array([0.5, 0.6]))
        """
        num = validation.positive_int(num, "num", 0)
        generator = np.random.Generator(np.random.Philox(key=validation.seed(seed)))
        binary = isinstance(self.prior, Bernoulli)
        z = np.empty((num, self.num_latents), dtype=np.uint8 if binary else np.float64)
        x = np.empty((num, self.num_pixels), dtype=np.uint8 if self.noise_std is None else np.float64)
        rows = max(1, BLOCK // self._width)
        blocks = [slice(start, start + rows) for start in range(0, num, rows)]
        # all of z before any x: the stream is then read in an order that does not depend on the size of a
        # block
        for block in blocks:
            if isinstance(self.prior, Bernoulli):
                z[block] = generator.random(z[block].shape) < sigmoid(self.prior.logits)
            else:
                z[block] = self.prior.mean + self.prior.std * generator.standard_normal(z[block].shape)
        for block in blocks:
            eta = self._decode(z[block])
            if self.noise_std is None:
                x[block] = generator.random(eta.shape) < sigmoid(eta)
            else:
                x[block] = eta + self.noise_std * generator.standard_normal(eta.shape)
        return Pairs(z, x)


def _clean_prior(prior: Any) -> Bernoulli | Normal:
    validation.instance(prior, "prior", (Bernoulli, Normal))
    parameters = prior.logits if isinstance(prior, Bernoulli) else prior.mean
    if parameters.ndim != 1:
        raise ValueError(f"prior must have parameters of shape (num_latents,), got shape {parameters.shape}")
    if isinstance(prior, Normal):
        return prior
    validation.require(prior.logits, np.isfinite(prior.logits), "prior must have finite logits")
    return prior if type(prior) is Bernoulli else Bernoulli(prior.logits)
