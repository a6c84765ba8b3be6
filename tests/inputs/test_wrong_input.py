"""What wrong input gets: one line that names the argument, what is allowed and what came.

A row of a table is (name, call, exception, pattern of the message), one line a row.
"""

# ruff: noqa: E501

from __future__ import annotations

import numpy as np
import pytest

import fastvi
from fastvi.core import validation

NAN, INF = float("nan"), float("inf")
NETWORK = fastvi.SigmoidBeliefNetwork(np.zeros((4, 3)), np.zeros(4), np.zeros(3))
TABLE = fastvi.JointTable([[0.5, 0.25], [0.25, 0.0]])
Q = fastvi.Bernoulli(np.zeros((2, 3)))
X = np.array([[0, 1, 0, 1], [1, 1, 0, 0]])
LINEAR = fastvi.LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 1.0)
FOUR = fastvi.NeuralDecoder([(np.ones((1, 4)), [0.0])], "tanh", fastvi.Normal(np.zeros(4), np.ones(4)))


def network(weights=((0.0,) * 3,) * 4, bias=(0.0,) * 4, prior_logits=(0.0,) * 3):
    return fastvi.SigmoidBeliefNetwork(weights, bias, prior_logits)


def spoiled(shape, value, index, dtype=float):
    array = np.zeros(shape, dtype=dtype)
    array[index] = value
    return array


class NoRepr:
    def __repr__(self):
        raise ZeroDivisionError("no repr")


class NoArray:
    def __array__(self, dtype=None, copy=None):
        raise KeyError("no array\nof two lines")


class Named:
    """A path that says what it was given, or nothing at all."""

    def __init__(self, name):
        self.name = name

    def __fspath__(self):
        if self.name is None:
            raise OSError("no name\nof two lines")
        return self.name

    def __repr__(self):
        return f"Named({self.name!r})"


class NoIndex:
    def __index__(self):
        raise RuntimeError("no index")


# fmt: off
ODD_OBJECTS = [
    ("no repr", lambda: NETWORK.sample(NoRepr(), 0), TypeError, r"^num must be an int >= 0, got an object without a repr \(NoRepr\)$"),
    ("a huge seed", lambda: NETWORK.sample(1, 10**5000), ValueError, r"^seed must be .* got an object without a repr \(int\)$"),
    ("an index that fails", lambda: NETWORK.sample(NoIndex(), 0), TypeError, r"^num must be an int >= 0, got .*NoIndex"),
    ("a seed whose index fails", lambda: NETWORK.sample(1, NoIndex()), TypeError, r"^seed must be an int"),
    ("an axis of True", lambda: fastvi.log_mean_exp([[0.0]], True), TypeError, r"^axis must be an int or a tuple of ints, got True \(bool\)"),
    ("an axis whose index fails", lambda: fastvi.psis([[0.0]], axis=NoIndex()), TypeError, r"^axis must be an int or a tuple of ints, got .*NoIndex"),
    ("an alpha of 10**400", lambda: fastvi.renyi_bound([0.0], "10"), TypeError, r"^alpha must be a real number, got '10' \(str\)"),
    ("a level of True", lambda: fastvi.diagnose([[0.0, 1.0]]).interval(True), TypeError, r"^level must be a number with 0 < level < 1, got True"),
    ("a level of text", lambda: fastvi.diagnose([[0.0, 1.0]]).interval("0.5"), TypeError, r"^level must be a number .* got '0.5' \(str\)"),
    ("a tolerance of False", lambda: fastvi.fit_posterior(NETWORK, X, tolerance=False), TypeError, r"^tolerance must be finite and >= 0, got False"),
    ("a duration", lambda: fastvi.LinearGaussian([[1.0]], [0.0], np.timedelta64(1, "s")), TypeError, r"^noise_std must be a finite number > 0, got .*timedelta64"),
    ("a noise of 10**400", lambda: fastvi.LinearGaussian([[1.0]], [0.0], 10**400), ValueError, r"^noise_std must be a finite number > 0, got 10+\.\.\. \(int\)"),
    ("a noise of -10**400", lambda: fastvi.LinearGaussian([[1.0]], [0.0], -(10**400)), ValueError, r"^noise_std must be a finite number > 0, got -10+\.\.\. \(int\)"),
    ("rows of two lengths", lambda: network([[1, 2, 3], [1]]), TypeError, r"^weights .* got a list: its entries have no common shape, or are no numbers$"),
    ("data weights that overflow", lambda: fastvi.log_marginal_gradient(TABLE, [1, 1], data_weights=[1e308, 1e308]), ValueError, r"^data_weights must keep the gradient finite, got inf at index \(1, 0\)"),
    ("an Encoder and a mask", lambda: fastvi.elbo(NETWORK, X, fastvi.Encoder([(np.zeros((3, 4)), np.zeros(3))], "tanh"), observed=np.ones(4, bool)), TypeError, r"^q must not be an Encoder where observed is given, .* got Encoder\("),
    ("a mixture of mixtures", lambda: fastvi.Mixture([fastvi.Mixture(["prior"], [1.0])], [1.0]), TypeError, r"^components\[0\] must not be a Mixture: .* got Mixture\("),
]

SIGMOID_BELIEF_NETWORK = [
    ("NaN weight", lambda: network(spoiled((4, 3), NAN, (2, 1))), ValueError, r"^weights must be finite, got nan at index \(2, 1\)"),
    ("infinite weight", lambda: network(spoiled((4, 3), -INF, (0, 2))), ValueError, r"^weights .* got -inf at index \(0, 2\)"),
    ("NaN bias", lambda: network(bias=[0, 0, 0, NAN]), ValueError, r"^bias must be finite, got nan at index 3"),
    ("infinite prior", lambda: network(prior_logits=[0, INF, 0]), ValueError, r"^prior_logits .* got inf at index 1"),
    ("weights one axis", lambda: network(np.zeros(3)), ValueError, r"^weights must have 2 axes, got shape \(3,\)"),
    ("bias too short", lambda: network(bias=np.zeros(3)), ValueError, r"^bias must have shape \(4,\), got shape \(3,\)"),
    ("bias two axes", lambda: network(bias=np.zeros((4, 1))), ValueError, r"^bias must have 1 axes of shape \(4,\), got"),
    ("prior too long", lambda: network(prior_logits=np.zeros(4)), ValueError, r"^prior_logits must have shape \(3,\), got"),
    ("no latents", lambda: network(np.zeros((4, 0)), prior_logits=[]), ValueError, r"^weights .*num_latents >= 1.* \(4, 0\)"),
    ("complex weights", lambda: network(np.zeros((4, 3), complex)), TypeError, r"^weights .* real numbers, got dtype complex128"),
    ("weights as text", lambda: network([["a"] * 3] * 4), TypeError, r"^weights .* real numbers, got dtype <U1"),
    ("weights None", lambda: network(None), TypeError, r"^weights .* got dtype object \(from a NoneType\)"),
    ("ragged weights", lambda: network([[1, 2], [3]]), TypeError, r"^weights must be an array of real numbers"),
    ("masked weights", lambda: network(np.ma.zeros((4, 3))), TypeError, r"^weights .* got a masked array"),
    ("overflowing logit", lambda: network(np.full((4, 3), 1e308)), ValueError, r"^weights and bias must keep .* at index 0"),
    ("x of 2", lambda: NETWORK.log_joint(spoiled((5, 4), 2, (3, 1)), [0] * 3), ValueError, r"^x must contain only 0 and 1, got 2.0 at index \(3, 1\)"),
    ("x of NaN", lambda: NETWORK.log_joint(spoiled(4, NAN, 2), [0] * 3), ValueError, r"^x .* got nan at index 2"),
    ("x of another length", lambda: NETWORK.log_joint([0] * 5, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 4\), got shape \(5,\)"),
    ("x without axes", lambda: NETWORK.log_joint(1, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 4\), got shape \(\)"),
    ("z of 0.5", lambda: NETWORK.log_joint([0] * 4, [0, 0.5, 0]), ValueError, r"^z must contain only 0 and 1, got 0.5 at index 1"),
    ("z of another length", lambda: NETWORK.log_joint([0] * 4, [0] * 4), ValueError, r"^z must have shape \(\.\.\., 3\)"),
    ("x and z do not fit", lambda: NETWORK.log_joint(np.zeros((2, 4)), np.zeros((5, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(5,\)"),
    ("negative num", lambda: NETWORK.sample(-1, 0), ValueError, r"^num must be an int >= 0, got -1"),
    ("num of 1.5", lambda: NETWORK.sample(1.5, 0), TypeError, r"^num must be an int >= 0, got 1.5 \(float\)"),
    ("negative seed", lambda: NETWORK.sample(1, -1), ValueError, r"^seed .* 0 <= seed < 2\*\*64, got -1"),
    ("seed too large", lambda: NETWORK.sample(1, 2**64), ValueError, r"^seed .* < 2\*\*64, got 18446744073709551616"),
    ("seed None", lambda: NETWORK.sample(1, None), TypeError, r"^seed must be an int .* got None"),
    ("seed True", lambda: NETWORK.sample(1, True), TypeError, r"^seed must be an int .* got True \(bool\)"),
]

JOINT_TABLE = [
    ("negative entry", lambda: fastvi.JointTable([[1.5, -0.5]]), ValueError, r"^probabilities must be >= 0, got -0.5 at index \(0, 1\)"),
    ("NaN entry", lambda: fastvi.JointTable([[1.0], [NAN]]), ValueError, r"^probabilities must be finite, got nan at index \(1, 0\)"),
    ("infinite entry", lambda: fastvi.JointTable([[INF]], unnormalized=True), ValueError, r"^probabilities must be finite, got inf"),
    ("total of 2", lambda: fastvi.JointTable([[1.0, 1.0]]), ValueError, r"^probabilities must sum to 1 .* total of 2.0: use unnormalized=True"),
    ("total of 0", lambda: fastvi.JointTable([[0.0]], unnormalized=True), ValueError, r"^probabilities .* total > 0, got a total of 0"),
    ("total overflows", lambda: fastvi.JointTable([[1e308] * 3], unnormalized=True), ValueError, r"^probabilities .* total of inf"),
    ("empty table", lambda: fastvi.JointTable(np.zeros((0, 3)), unnormalized=True), ValueError, r"^probabilities .* shape \(0, 3\)"),
    ("one axis", lambda: fastvi.JointTable([1.0]), ValueError, r"^probabilities must have 2 axes, got shape \(1,\)"),
    ("flag of 1", lambda: fastvi.JointTable([[1.0]], unnormalized=1), TypeError, r"^unnormalized must be True or False, got 1 \(int\)"),
    ("x too large", lambda: TABLE.log_joint([0, 2], 0), ValueError, r"^x must lie in 0 \.\.\. 1, got 2 at index 1"),
    ("x negative", lambda: TABLE.log_joint(-1, 0), ValueError, r"^x must lie in 0 \.\.\. 1, got -1$"),
    ("x of floats", lambda: TABLE.log_joint([0.0], 0), TypeError, r"^x must be an array of integers, got dtype float64"),
    ("x of booleans", lambda: TABLE.log_joint([True], 0), TypeError, r"^x must be an array of integers, got dtype bool"),
    ("z too large", lambda: TABLE.log_joint(0, [[0, 5]]), ValueError, r"^z must lie in 0 \.\.\. 1, got 5 at index \(0, 1\)"),
    ("x and z do not fit", lambda: TABLE.log_joint([0, 0], [0, 0, 0]), ValueError, r"^x and z .* got shapes \(2,\) and \(3,\)"),
    ("negative num", lambda: TABLE.sample(-1, 0), ValueError, r"^num must be an int >= 0"),
    ("seed of text", lambda: TABLE.sample(1, "7"), TypeError, r"^seed must be an int .* got '7' \(str\)"),
]

DISTRIBUTIONS = [
    ("NaN logit", lambda: fastvi.Bernoulli([0.0, NAN]), ValueError, r"^logits must not contain NaN, got nan at index 1"),
    ("scalar logits", lambda: fastvi.Bernoulli(0.0), ValueError, r"^logits must have 1 or 2 axes, got shape \(\)"),
    ("three axes", lambda: fastvi.Bernoulli(np.zeros((1, 1, 1))), ValueError, r"^logits must have 1 or 2 axes, got shape \(1, 1, 1\)"),
    ("no latents", lambda: fastvi.Bernoulli(np.zeros((2, 0))), ValueError, r"^logits .* at least 1 latent .* \(2, 0\)"),
    ("logits as text", lambda: fastvi.Bernoulli(["a"]), TypeError, r"^logits .* got dtype <U1"),
    ("z of -1", lambda: Q.log_prob([0, -1, 0]), ValueError, r"^z must contain only 0 and 1, got -1 at index 1"),
    ("z of another length", lambda: Q.log_prob([0, 1]), ValueError, r"^z must have shape \(\.\.\., 3\), got shape \(2,\)"),
    ("z for other data", lambda: Q.log_prob(np.zeros((5, 3))), ValueError, r"^z must have shape \(\.\.\., 2, 3\), or \(\.\.\., 1, 3\) for all data, got shape \(5, 3\)$"),
    ("negative num", lambda: Q.sample(-1, 0), ValueError, r"^num must be an int >= 0"),
    ("num True", lambda: Q.sample(True, 0), TypeError, r"^num must be an int >= 0, got True"),
    ("seed of 0.0", lambda: Q.sample(1, 0.0), TypeError, r"^seed must be an int .* got 0.0 \(float\)"),
    ("seed too large", lambda: Q.sample(1, 2**64), ValueError, r"^seed must be an int"),
    ("uniform over nothing", lambda: fastvi.Uniform(0), ValueError, r"^num_latents must be an int >= 1, got 0"),
    ("uniform over 2.0", lambda: fastvi.Uniform(2.0), TypeError, r"^num_latents must be an int >= 1, got 2.0"),
]

KL_DIVERGENCE = [
    ("q is an array", lambda: fastvi.kl_divergence(np.zeros(3), Q), TypeError, r"^q must be a Bernoulli or Normal or MultivariateNormal or Categorical, got an array of shape \(3,\)"),
    ("p is a model", lambda: fastvi.kl_divergence(Q, NETWORK), TypeError, r"^p must be a Bernoulli, got SigmoidBeliefNetwork"),
    ("other latents", lambda: fastvi.kl_divergence(Q, fastvi.Uniform(4)), ValueError, r"^q and p .* q with 3 and p with 4"),
    ("other data", lambda: fastvi.kl_divergence(Q, fastvi.Bernoulli(np.zeros((3, 3)))), ValueError, r"^q and p .* q with 2 and p with 3"),
]

STORAGE = [
    ("path None", lambda: NETWORK.save(None), TypeError, r"^path must be a str or an os.PathLike, got None"),
    ("path empty", lambda: NETWORK.save(""), ValueError, r"^path must name a file, got ''"),
    ("path of bytes", lambda: fastvi.load(b"model"), TypeError, r"^path must be a str or an os.PathLike, got b'model'"),
    ("path of an int's PathLike", lambda: fastvi.load(Named(3)), TypeError, r"^path must be a str or an os.PathLike, got .*Named"),
    ("path of bytes' PathLike", lambda: fastvi.load(Named(b"model")), TypeError, r"^path must be a str or an os.PathLike, got .*Named"),
    ("path of a NUL's PathLike", lambda: NETWORK.save(Named("a\0b")), ValueError, r"^path must name a file, got 'a.x00b'"),
    ("path that raises", lambda: NETWORK.save(Named(None)), TypeError, r"^path must be a str or an os.PathLike, got .*Named"),
    ("path is a number", lambda: fastvi.load(3), TypeError, r"^path must be a str or an os.PathLike, got 3 \(int\)"),
]

PARTITION_AND_GRADIENT = [
    ("log Z of a network", lambda: fastvi.log_partition(NETWORK), TypeError, r"^model must be a BoltzmannMachine or RestrictedBoltzmannMachine, got SigmoidBeliefNetwork"),
    ("log Z of 41 units", lambda: fastvi.log_partition(fastvi.BoltzmannMachine(1.0 - np.eye(41), np.zeros(41))), ValueError, r"^max_states is .*log Z under 2\^41 states"),
    ("64 units unconditioned", lambda: fastvi.log_marginal(fastvi.BoltzmannMachine(1.0 - np.eye(64), np.zeros(64)), np.zeros((1, 64))), ValueError, r"^max_states is .*log Z under 2\^64"),
    ("a mask without x", lambda: fastvi.log_marginal(fastvi.BoltzmannMachine([[0.0]], [0.0]), observed=[True]), TypeError, r"^x must be an array of 0 and 1"),
    ("gradient of None", lambda: fastvi.log_marginal_gradient(None, X), TypeError, r"^model must be one with latents to sum out or a JointTable"),
    ("weights of other data", lambda: fastvi.log_marginal_gradient(NETWORK, X, data_weights=[1.0]), ValueError, r"^data_weights must have shape \(2,\), got shape \(1,\)"),
    ("weight of NaN", lambda: fastvi.log_marginal_gradient(NETWORK, X, data_weights=[1.0, NAN]), ValueError, r"^data_weights must be finite, got nan at index 1"),
    ("gradient without data", lambda: fastvi.log_marginal_gradient(NETWORK), TypeError, r"^x must be an array of shape \(num_data, 4\), got None"),
]

# what the functions of the other layers pass their arguments to
VALIDATION = [
    ("one datum", lambda: validation.binary_matrix(np.zeros(4), "x", 4), ValueError, r"^x must have shape \(num_data, 4\), got shape \(4,\): pass x\[None\]"),
    ("other pixels", lambda: validation.binary_matrix(np.zeros((2, 5)), "x", 4), ValueError, r"^x must have shape \(num_data, 4\), got shape \(2, 5\)$"),
    ("pixel of 255", lambda: validation.binary_matrix(spoiled((2, 4), 255, (1, 2), np.uint8), "x", 4), ValueError, r"^x must contain only 0 and 1, got 255 at index \(1, 2\)"),
    ("observed NaN", lambda: validation.binary_matrix(spoiled((2, 4), NAN, (1, 2)), "x", 4, observed=np.ones(4, bool)), ValueError, r"^x .* where it is observed, got nan at index \(1, 2\)"),
    ("mask of 0 and 1", lambda: validation.observed_mask([0, 1, 1, 1], 2, 4), TypeError, r"^observed must have dtype bool .* \(4,\) or \(2, 4\), got dtype int64"),
    ("mask too short", lambda: validation.observed_mask([True] * 3, 2, 4), ValueError, r"^observed .* \(4,\) or \(2, 4\), got shape \(3,\)"),
    ("mask of other data", lambda: validation.observed_mask(np.ones((3, 4), bool), 2, 4), ValueError, r"^observed .* got shape \(3, 4\)"),
    ("one index", lambda: validation.index_vector(1, "x", 3), ValueError, r"^x must have shape \(num_data,\), got shape \(\): pass \[x\]"),
    ("indices in two axes", lambda: validation.index_vector([[1]], "x", 3), ValueError, r"^x must have shape \(num_data,\), got shape \(1, 1\)$"),
    ("index too large", lambda: validation.index_vector([0, 3], "x", 3), ValueError, r"^x must lie in 0 \.\.\. 2, got 3 at index 1"),
    ("index of uint64", lambda: validation.index_vector(np.array([2**64 - 1], np.uint64), "x", 3), ValueError, r"got 18446744073709551615 at index 0"),
    ("unknown choice", lambda: validation.choice("gpu", "device", ("cpu", "cuda")), ValueError, r"^device must be one of 'cpu', 'cuda', got 'gpu'"),
    ("choice of None", lambda: validation.choice(None, "device", ("cpu", "cuda")), TypeError, r"^device must be one of 'cpu', 'cuda', got None"),
    ("num_samples of 0", lambda: validation.positive_int(0, "num_samples"), ValueError, r"^num_samples must be an int >= 1, got 0"),
    ("a long value is cut", lambda: validation.flag("a\n" * 500, "flag"), TypeError, r"^flag .{,100}\.\.\. \(str\)$"),
]


LOG_MARGINAL = [
    ("model None", lambda: fastvi.log_marginal(None, X), TypeError, r"^model must be one with latents to sum out or a JointTable, got None"),
    ("x None", lambda: fastvi.log_marginal(NETWORK), TypeError, r"^x must be an array of shape \(num_data, 4\), got None"),
    ("x of 2", lambda: fastvi.log_marginal(NETWORK, spoiled((5, 4), 2, (3, 1))), ValueError, r"^x must contain only 0 and 1, got 2.0 at index \(3, 1\)"),
    ("x of NaN", lambda: fastvi.log_marginal(NETWORK, spoiled((5, 4), NAN, (3, 1))), ValueError, r"^x .* got nan at index \(3, 1\)"),
    ("one datum", lambda: fastvi.log_marginal(NETWORK, [0, 1, 0, 1]), ValueError, r"^x must have shape \(num_data, 4\), got shape \(4,\): pass x\[None\]"),
    ("x too wide", lambda: fastvi.log_marginal(NETWORK, np.zeros((2, 5))), ValueError, r"^x must have shape \(num_data, 4\), got shape \(2, 5\)"),
    ("x as text", lambda: fastvi.log_marginal(NETWORK, [["a"] * 4]), TypeError, r"^x must be an array of 0 and 1 .* got dtype <U1"),
    ("mask too long", lambda: fastvi.log_marginal(NETWORK, X, observed=np.ones(5, bool)), ValueError, r"^observed must have shape \(4,\) or \(2, 4\), got shape \(5,\)"),
    ("mask of 0 and 1", lambda: fastvi.log_marginal(NETWORK, X, observed=np.ones(4)), TypeError, r"^observed must have dtype bool .* got dtype float64"),
    ("x of 3 where it is seen", lambda: fastvi.log_marginal(NETWORK, X + 3, observed=np.eye(2, 4, dtype=bool)), ValueError, r"^x must contain only 0 and 1 where it is observed, got 3.* at index \(0, 0\)"),
    ("unknown device", lambda: fastvi.log_marginal(NETWORK, X, device="gpu"), ValueError, r"^device must be one of 'cpu', 'cuda', 'auto', got 'gpu'"),
    ("no CUDA", lambda: fastvi.log_marginal(NETWORK, X, device="cuda"), RuntimeError, r"^device='cuda' is not available"),
    ("unknown dtype", lambda: fastvi.log_marginal(NETWORK, X, dtype="float16"), ValueError, r"^dtype must be one of 'float64', 'float32', got 'float16'"),
    ("dtype as a type", lambda: fastvi.log_marginal(NETWORK, X, dtype=np.float32), TypeError, r"^dtype must be one of"),
    ("executor of 4", lambda: fastvi.log_marginal(NETWORK, X, executor=4), TypeError, r"^executor must be an Executor, got 4"),
    ("checkpoint is a number", lambda: fastvi.log_marginal(NETWORK, X, checkpoint=3), TypeError, r"^checkpoint must be None, a str or an os.PathLike, got 3"),
    ("checkpoint in no folder", lambda: fastvi.log_marginal(NETWORK, X, checkpoint="none/a"), FileNotFoundError, r"^checkpoint must"),
    ("normalized of 0", lambda: fastvi.log_marginal(NETWORK, X, normalized=0), TypeError, r"^normalized must be True or False, got 0"),
    ("progress of 1", lambda: fastvi.log_marginal(NETWORK, X, progress=1), TypeError, r"^progress must be True or False, got 1"),
    ("memory_limit of 0", lambda: fastvi.log_marginal(NETWORK, X, memory_limit=0), ValueError, r"^memory_limit must be an int >= 1, got 0"),
    ("max_states of 7", lambda: fastvi.log_marginal(NETWORK, X, max_states=7), ValueError, r"^max_states is 7 .* the model has 2\^3"),
    ("table with x of 2", lambda: fastvi.log_marginal(TABLE, [0, 2]), ValueError, r"^x must lie in 0 \.\.\. 1, got 2 at index 1"),
    ("table with x of 0.5", lambda: fastvi.log_marginal(TABLE, [0.5]), TypeError, r"^x must be an array of integers"),
    ("table with a scalar", lambda: fastvi.log_marginal(TABLE, 0), ValueError, r"^x must have shape \(num_data,\).*pass \[x\]"),
    ("table with no CUDA", lambda: fastvi.log_marginal(TABLE, device="cuda"), RuntimeError, r"^device='cuda' is not available"),
]

BOUNDS = [
    ("q of bits for a table", lambda: fastvi.elbo(TABLE, [0], Q), TypeError, r"^q must be a Categorical for a JointTable, got Bernoulli"),
    ("q of other categories", lambda: fastvi.elbo(TABLE, [0], fastvi.Categorical([0.0])), ValueError, r"^q must have logits of shape \(2,\) or \(1, 2\), got shape \(1,\)"),
    ("data of pixels for a table", lambda: fastvi.elbo(TABLE, X, Q), ValueError, r"^x must have shape \(num_data,\), got shape"),
    ("proposal of bits for a table", lambda: fastvi.estimate_log_marginal(TABLE, proposal=Q), TypeError, r"^proposal must be 'uniform', 'prior' or a Categorical for a JointTable, got Bernoulli"),
    ("fit of a table by samples", lambda: fastvi.fit_posterior(TABLE, [0], num_samples=3), TypeError, r"^num_samples must be None, .* for a JointTable"),
    ("fit of a table to a bound", lambda: fastvi.fit_posterior(TABLE, [0], objective="importance_weighted"), TypeError, r"^num_samples must be None, .* for a JointTable"),
    ("an impossible row to fit", lambda: fastvi.fit_posterior(fastvi.JointTable([[1.0], [0.0]]), [0, 1]), ValueError, r"^x must have log p\(x\) > -inf in a fit, got -inf at index 1"),
    ("an impossible row to learn", lambda: fastvi.fit_model(fastvi.JointTable([[1.0], [0.0]]), [0, 1]), ValueError, r"^x must have a positive probability to be learned from, got -inf at index 1"),
    ("a table by wake-sleep", lambda: fastvi.fit_model(TABLE, [0], objective="wake_sleep"), ValueError, r"^objective must be 'exact' or 'em' for a JointTable, got 'wake_sleep'"),
    ("a rate for a table", lambda: fastvi.fit_model(TABLE, [0], learning_rate=0.1), TypeError, r"^learning_rate must be None for a JointTable"),
    ("an encoder of a table", lambda: fastvi.fit_encoder(TABLE, [0], None), TypeError, r"^model must be one whose latents are bits or real numbers, got JointTable"),
    ("x too wide", lambda: fastvi.elbo(NETWORK, np.zeros((2, 5)), Q), ValueError, r"^x must have shape \(num_data, 4\)"),
    ("q an array", lambda: fastvi.elbo(NETWORK, X, np.zeros((2, 3))), TypeError, r"^q must be a Bernoulli, got an array of shape \(2, 3\)"),
    ("q of other data", lambda: fastvi.elbo(NETWORK, np.zeros((3, 4)), Q), ValueError, r"^q must have logits of shape \(3,\) or \(3, 3\), got shape \(2, 3\)"),
    ("q of other latents", lambda: fastvi.elbo(NETWORK, X, fastvi.Bernoulli(np.zeros(5))), ValueError, r"^q must have logits of shape \(3,\) or \(2, 3\), got shape \(5,\)"),
    ("num_samples of 0", lambda: fastvi.elbo(NETWORK, X, Q, num_samples=0), ValueError, r"^num_samples must be an int >= 1, got 0"),
    ("seed of -1", lambda: fastvi.elbo(NETWORK, X, Q, seed=-1), ValueError, r"^seed must be"),
    ("decomposition", lambda: fastvi.elbo(NETWORK, X, Q, decomposition="kl"), ValueError, r"^decomposition must be one of 'reconstruction', 'joint', 'log_ratio', got 'kl'"),
    ("elbo without CUDA", lambda: fastvi.elbo(NETWORK, X, Q, device="cuda"), RuntimeError, r"^device='cuda' is not available"),
    ("elbo in no memory", lambda: fastvi.elbo(NETWORK, X, Q, memory_limit=1), ValueError, r"^memory_limit is 1 bytes, but 2 data under 2\^3"),
    ("kl of a table", lambda: fastvi.kl_to_posterior(TABLE, [0], Q), TypeError, r"^q must be a Categorical for a JointTable"),
    ("kl of other data", lambda: fastvi.kl_to_posterior(NETWORK, np.zeros((3, 4)), Q), ValueError, r"^q must have logits"),
    ("kl without CUDA", lambda: fastvi.kl_to_posterior(NETWORK, X, Q, device="cuda"), RuntimeError, r"^device='cuda' is not available"),
]

FIT_POSTERIOR = [
    ("pixels of a table", lambda: fastvi.fit_posterior(TABLE, X), ValueError, r"^x must have shape \(num_data,\), got shape"),
    ("x of 2", lambda: fastvi.fit_posterior(NETWORK, np.full((1, 4), 2)), ValueError, r"^x must contain only 0 and 1"),
    ("objective", lambda: fastvi.fit_posterior(NETWORK, X, objective="elbo"), ValueError, r"^objective must be one of 'reverse_kl', 'forward_kl', 'importance_weighted'"),
    ("importance-weighted", lambda: fastvi.fit_posterior(NETWORK, X, objective="importance_weighted"), TypeError, r"^num_samples must be a number for objective='importance_weighted', got None"),
    ("num_restarts of -1", lambda: fastvi.fit_posterior(NETWORK, X, num_restarts=-1), ValueError, r"^num_restarts must be an int >= 0"),
    ("max_steps of 0", lambda: fastvi.fit_posterior(NETWORK, X, max_steps=0), ValueError, r"^max_steps must be an int >= 1"),
    ("tolerance of NaN", lambda: fastvi.fit_posterior(NETWORK, X, tolerance=NAN), ValueError, r"^tolerance must be finite"),
    ("tolerance of -1", lambda: fastvi.fit_posterior(NETWORK, X, tolerance=-1), ValueError, r"^tolerance must be >= 0, got -1"),
    ("seed of 0.5", lambda: fastvi.fit_posterior(NETWORK, X, seed=0.5), TypeError, r"^seed must be"),
    ("25 latents", lambda: fastvi.fit_posterior(network(np.zeros((4, 25)), prior_logits=np.zeros(25)), X), ValueError, r"^model must have at most 24 latents to be fitted exactly, got 25"),
]
ESTIMATES = [
    ("model None", lambda: fastvi.estimate_log_marginal(None, X), TypeError, r"^model must be one with latents to sum out or a JointTable, got None"),
    ("x of 2", lambda: fastvi.estimate_log_marginal(NETWORK, X * 2), ValueError, r"^x must contain only 0 and 1, got 2"),
    ("num_samples of 0", lambda: fastvi.estimate_log_marginal(NETWORK, X, num_samples=0), ValueError, r"^num_samples must be an int >= 1, got 0"),
    ("num_samples of 1.5", lambda: fastvi.estimate_log_marginal(NETWORK, X, num_samples=1.5), TypeError, r"^num_samples must be an int >= 1, got 1.5"),
    ("seed of -1", lambda: fastvi.estimate_log_marginal(NETWORK, X, seed=-1), ValueError, r"^seed must be"),
    ("unknown proposal", lambda: fastvi.estimate_log_marginal(NETWORK, X, proposal="q"), ValueError, r"^proposal must be one of 'uniform', 'prior', got 'q'"),
    ("proposal an array", lambda: fastvi.estimate_log_marginal(NETWORK, X, proposal=np.zeros(3)), TypeError, r"^proposal must be 'uniform', 'prior', a Bernoulli, a Normal, an Encoder, a Mixture or Bounds, got an array"),
    ("proposal of other data", lambda: fastvi.estimate_log_marginal(NETWORK, X[:1], proposal=Q), ValueError, r"^proposal must have logits of shape \(3,\) or \(1, 3\), got shape \(2, 3\)"),
    ("proposal of other latents", lambda: fastvi.estimate_log_marginal(NETWORK, X, proposal=fastvi.Uniform(4)), ValueError, r"^proposal must have logits of shape \(3,\)"),
    ("no CUDA", lambda: fastvi.estimate_log_marginal(NETWORK, X, device="cuda"), RuntimeError, r"^device='cuda' is not available"),
    ("target", lambda: fastvi.estimate_log_marginal(NETWORK, X, target_ess=0), ValueError, r"^target_ess must"),
    ("executor", lambda: fastvi.estimate_log_marginal(NETWORK, X, executor=5), TypeError, r"^executor must be an Executor, got 5"),
    ("progress of 1", lambda: fastvi.estimate_log_marginal(NETWORK, X, progress=1), TypeError, r"^progress must be True or False, got 1"),
    ("block sizes without an array", lambda: fastvi.importance_weighted_bound(np.zeros((2, 9)), NoArray()), TypeError, r"^num_samples must be an int >= 1, got .*NoArray"),
    ("block sizes in two axes", lambda: fastvi.importance_weighted_bound(np.zeros((2, 9)), np.array([[2, 3]])), TypeError, r"^num_samples must be an int >= 1, got an array of shape \(1, 2\)"),
    ("latents beyond the doubles", lambda: fastvi.annealed_importance_sampling(LINEAR, np.zeros((2, 2)), num_temperatures=3, num_chains=2, latents=[[0.0], [1e155]]), ValueError, r"^latents must have p\(x, z\) > 0, got 0 for datum 1, chain 0$"),
    ("4 normal latents", lambda: fastvi.log_marginal(FOUR, np.zeros((1, 1))), ValueError, r"^model must have at most 3 latents for log p\(x\) under a Normal prior to be integrated, got 4$"),
    ("a plan of 4 normal latents", lambda: fastvi.plan(FOUR, num_data=1), ValueError, r"^model must have at most 3 latents .*, got 4$"),
    ("4 normal latents without a truth", lambda: fastvi.calibrate(FOUR, x=np.zeros((1, 1)), proposals={"p": "prior"}), ValueError, r"^model must have at most 3 latents .*, got 4$"),
    *((f"num_samples of {much}", lambda much=much: fastvi.estimate_log_marginal(NETWORK, X, num_samples=much), ValueError, r"^num_samples must be an int <= 2\*\*40, got ") for much in (2**40 + 1, 2**53 + 1, np.int64(2**62), 2**63 - 1)),
    ("table with x of 5", lambda: fastvi.estimate_log_marginal(TABLE, [5]), ValueError, r"^x must lie in 0 \.\.\. 1, got 5 at index 0"),
]
EXACT_POSTERIOR = [
    ("pairs of a table", lambda: fastvi.exact_posterior(TABLE, [0], pairwise=True), ValueError, r"^pairwise must be False for a JointTable, .*, got True"),
    ("top_k of a table", lambda: fastvi.exact_posterior(TABLE, [0], top_k=3), ValueError, r"^top_k must be at most 2, the number of states, got 3"),
    ("memory of a table", lambda: fastvi.exact_posterior(TABLE, [0], memory_limit=1), ValueError, r"^memory_limit is 1 bytes, but 1 data of 2 states would take"),
    ("x of 2", lambda: fastvi.exact_posterior(NETWORK, X * 2), ValueError, r"^x must contain only 0 and 1, got 2"),
    ("top_k of -1", lambda: fastvi.exact_posterior(NETWORK, X, top_k=-1), ValueError, r"^top_k must be an int >= 0, got -1"),
    ("top_k of 9", lambda: fastvi.exact_posterior(NETWORK, X, top_k=9), ValueError, r"^top_k must be at most 2\^3, the number of states, got 9"),
    ("pairwise of 1", lambda: fastvi.exact_posterior(NETWORK, X, pairwise=1), TypeError, r"^pairwise must be True or False, got 1"),
    ("mask too long", lambda: fastvi.exact_posterior(NETWORK, X, observed=np.ones(5, bool)), ValueError, r"^observed must have shape"),
    ("no CUDA", lambda: fastvi.exact_posterior(NETWORK, X, device="cuda"), RuntimeError, r"^device='cuda' is not available"),
    ("no memory", lambda: fastvi.exact_posterior(NETWORK, X, memory_limit=1), ValueError, r"^memory_limit is 1 bytes"),
    ("z of other data", lambda: fastvi.exact_posterior(NETWORK, X).log_prob(np.zeros((3, 3))), ValueError, r"^z must have shape \(\.\.\., 2, 3\), or \(\.\.\., 1, 3\) for all data, got shape \(3, 3\)$"),
    ("z of 2", lambda: fastvi.exact_posterior(NETWORK, X).log_prob(np.full((2, 3), 2)), ValueError, r"^z must contain only 0 and 1"),
    ("num of -1", lambda: fastvi.exact_posterior(NETWORK, X).sample(-1, 0), ValueError, r"^num must be an int >= 0"),
    ("seed of -1", lambda: fastvi.exact_posterior(NETWORK, X).sample(1, -1), ValueError, r"^seed must be"),
]
# fmt: on
TABLES = {
    "SigmoidBeliefNetwork": SIGMOID_BELIEF_NETWORK,
    "JointTable": JOINT_TABLE,
    "distributions": DISTRIBUTIONS,
    "kl_divergence": KL_DIVERGENCE,
    "log_marginal": LOG_MARGINAL,
    "bounds": BOUNDS,
    "fit_posterior": FIT_POSTERIOR,
    "estimates": ESTIMATES,
    "exact_posterior": EXACT_POSTERIOR,
    "partition and gradient": PARTITION_AND_GRADIENT,
    "storage": STORAGE,
    "validation": VALIDATION,
    "odd objects": ODD_OBJECTS,
}
CASES = [
    pytest.param(call, exception, message, id=f"{table}: {name}")
    for table, rows in TABLES.items()
    for name, call, exception, message in rows
]


@pytest.mark.parametrize(("call", "exception", "message"), CASES)
def test_wrong_input(call, exception, message):
    with pytest.raises(exception, match=message) as caught:
        call()
    assert type(caught.value) is exception
    assert "\n" not in str(caught.value)


# ---- what is accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_binary_matrices_of_any_real_dtype(dtype, order):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype, order=order)
    got = validation.binary_matrix(x, "x", 3)
    np.testing.assert_array_equal(got, np.array([[0, 1, 1], [1, 0, 1]], dtype=np.uint8), strict=True)
    assert got.flags.c_contiguous


@pytest.mark.parametrize("observed", [[True, False], [[True, False], [False, True]]])
def test_what_is_not_observed_becomes_zero(observed):
    mask = validation.observed_mask(observed, 2, 2)
    x = np.where(np.broadcast_to(mask, (2, 2)), 1.0, NAN)
    np.testing.assert_array_equal(validation.binary_matrix(x, "x", 2, observed=mask), np.nan_to_num(x))
    ones = np.ones((2, 2), dtype=bool)
    np.testing.assert_array_equal(validation.binary_matrix(ones, "x", 2, observed=mask), np.nan_to_num(x))


def test_a_str_of_another_class_is_a_str():
    class Word(str):
        pass

    assert type(fastvi.plan(NETWORK, question=Word("log_marginal")).question) is str


def test_no_data():
    assert validation.binary_matrix(np.zeros((0, 3)), "x", 3).shape == (0, 3)
    assert validation.binary_matrix(np.zeros((2, 0)), "x", 0).shape == (2, 0)
    assert validation.index_vector([], "x", 3).dtype == np.int64
    assert validation.observed_mask(np.ones((0, 3), bool), 0, 3).shape == (0, 3)
    assert validation.observed_mask(None, 2, 3) is None


def test_numpy_integers_are_integers():
    assert validation.seed(np.uint64(2**64 - 1)) == 2**64 - 1
    assert type(validation.positive_int(np.int32(4), "num")) is int
    assert validation.flag(np.bool_(True), "flag") is True


def test_infinities_where_they_are_allowed():
    got = validation.float_array([[INF, -INF]], "logits", ndim=2, shape=(None, 2), allow_infinite=True)
    np.testing.assert_array_equal(got, [[INF, -INF]])


class OnlyDLPack:
    """An array that NumPy does not know, such as a tensor of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnGpu(OnlyDLPack):
    def __array__(self, *arguments, **options):
        raise TypeError("can't convert a\ndevice tensor")

    def __dlpack__(self, **options):
        raise BufferError("not on the CPU")


def test_dlpack_on_the_cpu():
    weights = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(network(OnlyDLPack(weights)).weights, weights)
    with pytest.raises(
        TypeError, match=r"^weights must be .* in CPU memory, got an OnGpu: can't convert a device tensor$"
    ):
        network(OnGpu(weights))
