"""Each question that a GPU answers, of each kind of model, against its definition in pure Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import naive
import naive_log_weights
import numpy as np
import pytest
from models import bits, machine, network

import fastvi
from fastvi.engine.cuda.device import use

U = 2.0**-53
MASK = np.array([1, 0, 1, 1, 0], bool)
RNG = np.random.default_rng(8)


class Case(NamedTuple):
    """``joint(x, z)`` and ``likelihood(x, z)`` of lists; ``logits`` of the prior, None for a machine.

    size: a bound on the sum of what is added to log p(x, z), in absolute values.
    """

    model: Any
    x: np.ndarray
    observed: np.ndarray | None
    joint: Callable[..., float]
    logits: list[float] | None
    size: float

    @property
    def rounding(self) -> float:
        """Of a log joint: one for each addition, a few for each exponential, relative to what is added."""
        return U * ((self.model.num_pixels + 1) * (self.model.num_latents + 1) + 64) * self.size

    def options(self) -> dict[str, Any]:
        return {} if self.observed is None else {"observed": self.observed}

    def seen(self, n: int) -> list[bool] | None:
        return None if self.observed is None else self.observed.tolist()

    def states(self, n: int) -> list[tuple[int, ...]]:
        """All that agree with a machine's clamped units; all where latents are not pixels."""
        z = naive.states(self.model.num_latents)
        if not isinstance(self.model, fastvi.BoltzmannMachine):
            return z
        return [bits for bits in z if naive.agrees(bits, self.x[n].tolist(), self.seen(n))]

    def log_marginal(self) -> list[float]:
        return [
            naive.log_sum_exp(self.joint(x, z, self.seen(n)) for z in self.states(n))
            for n, x in enumerate(self.x.tolist())
        ]


def added(*arrays: np.ndarray) -> float:
    return float(sum(np.abs(array).sum() for array in arrays))


def of_network(observed: np.ndarray | None) -> Case:
    model = network(4, 5)
    own = (model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist())
    # |log sigmoid(t)| <= |t| + log 2
    size = 9.0 + added(model.weights, model.bias, model.prior_logits)
    return Case(
        model, bits(3, 5), observed, lambda x, z, seen: naive.sbn_log_joint(*own, x, z, seen), own[2], size
    )


def of_coding() -> Case:
    model = fastvi.BinarySparseCoding(RNG.normal(size=(5, 4)), RNG.normal(size=5), 0.5, RNG.normal(size=4))
    x = RNG.normal(size=(3, 5))
    own = (model.weights.tolist(), model.bias.tolist(), 0.5, model.prior_logits.tolist())
    largest = np.abs(x).max(axis=0) + np.abs(model.bias) + np.abs(model.weights).sum(axis=1)
    # squares multiplied out; log of the noise and of 2 pi are below 2 a pixel
    size = 14.0 + float((largest**2).sum()) / (2 * 0.5**2) + added(model.prior_logits)
    return Case(model, x, None, lambda x, z, seen: naive.bsc_log_joint(*own, x, z, seen), own[3], size)


def of_machine(never: bool) -> Case:
    model = machine(5, never=never)
    own = (model.couplings.tolist(), model.bias.tolist())
    finite = np.where(np.isfinite(model.couplings), model.couplings, 0.0)
    x = np.array([[0, 1, 1, 0, 1], [1, 1, 0, 0, 1], [0, 0, 0, 1, 0]], np.uint8)
    return Case(
        model,
        x,
        MASK,
        lambda x, z, seen: naive.bm_log_joint(*own, z),
        None,
        added(finite) / 2 + added(model.bias),
    )


def by_pixels(x, z):
    total = 0.0
    for i in range(z.size):
        total += z[i] * (x[0] + 0.1 * i)
    return total - 0.5 * x[1] * x[1]


CASES = {
    "network": of_network(None),
    "network with unseen pixels": of_network(MASK),
    "sparse coding": of_coding(),
    "machine": of_machine(False),
    "machine with a pair that never occurs": of_machine(True),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def near(got: Any, want: Any, allowed: Any) -> None:
    """Everywhere within what is allowed; infinities are the same."""
    got, want = np.asarray(got, float), np.asarray(want, float)
    assert got.shape == want.shape
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    assert (np.abs(got - want)[finite] <= np.broadcast_to(allowed, want.shape)[finite]).all(), (got, want)


@each_case
@pytest.mark.parametrize("check", [True, False])
def test_log_marginal(make_device, case, check):
    unnormalized = {} if case.logits else {"normalized": False}
    with use(make_device(check=check)):
        got = fastvi.log_marginal(case.model, case.x, device="cuda", **case.options(), **unnormalized)
    near(got, case.log_marginal(), case.rounding)


@pytest.mark.parametrize("never", [False, True])
def test_log_partition(make_device, never):
    case = of_machine(never)
    want = naive.bm_log_partition(case.model.couplings.tolist(), case.model.bias.tolist())
    with use(make_device()):
        near(fastvi.log_partition(case.model, device="cuda"), want, case.rounding)
        got = fastvi.log_marginal(case.model, case.x, device="cuda", observed=MASK)
    near(got, np.array(case.log_marginal()) - want, 2 * case.rounding)


@pytest.mark.parametrize(("d", "num_pixels"), [(4, 5), (5, 3)])
def test_restricted_machines(make_device, d, num_pixels):
    model = fastvi.RestrictedBoltzmannMachine(
        RNG.normal(size=(num_pixels, d)), RNG.normal(size=num_pixels), RNG.normal(size=d)
    )
    own = (model.weights.tolist(), model.visible_bias.tolist(), model.hidden_bias.tolist())
    x, observed = bits(3, num_pixels), np.arange(num_pixels) != 1
    size = num_pixels + d + added(model.weights, model.visible_bias, model.hidden_bias)
    allowed = U * ((num_pixels + 1) * (d + 1) + 64) * size
    log_z = naive.rbm_log_partition_of_all_states(*own)
    want = [naive.rbm_log_marginal(*own, row, observed.tolist()) - log_z for row in x.tolist()]
    with use(make_device()):
        near(fastvi.log_partition(model, device="cuda"), log_z, allowed)
        near(fastvi.log_marginal(model, x, observed=observed, device="cuda"), want, 2 * allowed)


@pytest.mark.parametrize("d", [1, 4])
def test_a_function_of_the_caller(make_device, d):
    model, x = fastvi.LogJoint(by_pixels, d), RNG.normal(size=(3, 2))
    want = [naive.log_sum_exp(by_pixels(row, np.array(z)) for z in naive.states(d)) for row in x]
    size = d * (np.abs(x).max() + 0.1 * d) + 0.5 * np.abs(x).max() ** 2
    with use(make_device()):
        near(fastvi.log_marginal(model, x, device="cuda"), want, U * (3 * d + 64) * (1.0 + size))


@each_case
def test_float32(make_device, case):
    unnormalized = {} if case.logits else {"normalized": False}
    with use(make_device()):
        got = fastvi.log_marginal(
            case.model, case.x, device="cuda", dtype="float32", **case.options(), **unnormalized
        )
    # tables and products: 3 roundings for each of 6 factors, one for each of 16 rows and 2 columns
    near(got, case.log_marginal(), (3 * 6 + 18) * 2.0**-24 + case.rounding)


def q_of(case: Case) -> fastvi.Bernoulli:
    return fastvi.Bernoulli(np.random.default_rng(4).normal(size=(3, case.model.num_latents)))


def of_free_units(case: Case, row: np.ndarray) -> list[float]:
    """A machine's clamped units are certain and drawn by nobody."""
    if case.logits is not None or case.observed is None:
        return row.tolist()
    return row[~case.observed].tolist()


def placed(case: Case, n: int, z: list[int]) -> list[int]:
    """The drawn bits beside those that a machine's data clamp."""
    if case.logits is not None or case.observed is None:
        return z
    whole = case.x[n].astype(int)
    whole[~case.observed] = z
    return whole.tolist()


def drawn_log_weights(case: Case, logits: np.ndarray, num: int, seed: int) -> list[list[float]]:
    rows = []
    for n, x in enumerate(case.x.tolist()):
        own, row = of_free_units(case, logits[n]), []
        for k in range(num):
            z = naive.bernoulli_draw(own, seed, n, k)
            joint = case.joint(x, placed(case, n, z), case.seen(n))
            row.append(joint - naive.bernoulli_log_prob(z, own))
        rows.append(row)
    return rows


@each_case
@pytest.mark.parametrize("proposal", ["uniform", "prior", "of each datum"])
def test_estimates(make_device, case, proposal):
    """Every number from the same draws: no chance is left."""
    if proposal == "prior" and case.logits is None:
        return  # a machine has none
    given = q_of(case) if proposal == "of each datum" else proposal
    logits = {
        "uniform": np.zeros((3, case.model.num_latents)),
        "prior": np.tile(case.logits or [0.0], (3, 1)),
        "of each datum": q_of(case).logits,
    }[proposal]
    unnormalized = {} if case.logits else {"normalized": False}
    num = 40
    with use(make_device()):
        got = fastvi.estimate_log_marginal(
            case.model, case.x, proposal=given, num_samples=num, seed=3, device="cuda", **case.options(),
            **unnormalized,
        )  # fmt: skip
    log_w = drawn_log_weights(case, logits, num, 3)
    want = np.array([naive_log_weights.estimate(row) for row in log_w])
    # a log weight is off by rounding, the mean's logarithm by no more; a share of the sum by twice that, and
    # 1 / ess, a sum of squared shares, by four times. std_error^2 = (K / ess - 1) / (K - 1)
    off = case.rounding + U * (num + added(logits))
    ratio = num / want[:, 2]
    near(got.log_marginal, want[:, 0], off)
    near(got.ess, want[:, 2], (4 * off + num * U) * want[:, 2])
    near(got.max_weight_share, want[:, 4], 2 * off + num * U)
    near(got.std_error**2, want[:, 1] ** 2, 2 * (4 * off + num * U) * ratio / (num - 1))


def test_draws(make_device):
    """Bit for bit: weights of a network whose pixels say nothing are those of the states drawn."""
    model = fastvi.SigmoidBeliefNetwork(np.zeros((1, 4)), [0.0], [1.0, 2.0, 4.0, 8.0])
    q = fastvi.Bernoulli(np.array([[0.5, -1.0, 2.0, 0.0], [-40.0, 40.0, 0.0, 0.0]]))
    for k in range(1, 9):
        with use(make_device()):
            got = fastvi.estimate_log_marginal(
                model, np.ones((2, 1)), proposal=q, num_samples=k, seed=2**63 + 5, device="cuda"
            )
        for n, row in enumerate(q.logits.tolist()):
            log_w = [
                naive.log(0.5)
                + naive.bernoulli_log_prob(z, model.prior_logits.tolist())
                - naive.bernoulli_log_prob(z, row)
                for z in (naive.bernoulli_draw(row, 2**63 + 5, n, i) for i in range(k))
            ]
            want = naive.log_sum_exp(log_w) - math.log(k)
            # a state that differs in one bit moves its weight by 0.5 at least, the mean by more than this
            near(got.log_marginal[n], want, 1e-12)


def exact_terms(case: Case, q: fastvi.Bernoulli, n: int) -> tuple[float, float, float]:
    """E_q log p(x, z), the entropy of q over what is free, and KL(q || prior)."""
    own = of_free_units(case, q.logits[n])
    x, expected = case.x[n].tolist(), []
    for z in naive.states(len(own)):
        mass = math.exp(naive.bernoulli_log_prob(z, own))
        expected.append(naive.times(mass, case.joint(x, placed(case, n, z), case.seen(n))))
    kl = naive.bernoulli_kl(own, case.logits) if case.logits else math.nan
    return math.fsum(expected), naive.bernoulli_entropy(own), kl


@pytest.mark.parametrize("name", ["network", "network with unseen pixels"])
@pytest.mark.parametrize("decomposition", ["reconstruction", "joint"])
def test_exact_elbo(make_device, name, decomposition):
    case = CASES[name]
    q = q_of(case)
    with use(make_device()):
        got = fastvi.elbo(case.model, case.x, q, device="cuda", decomposition=decomposition, **case.options())
    allowed = 4 * case.rounding + 64 * U * added(q.logits)
    want = np.array([exact_terms(case, q, n) for n in range(3)])
    near(got.expected_log_joint, want[:, 0], allowed)
    near(got.entropy, want[:, 1], allowed)
    near(got.kl_to_prior, want[:, 2], allowed)
    near(got.value, want[:, 0] + want[:, 1], allowed)
    near(got.reconstruction, want[:, 0] + want[:, 1] + want[:, 2], allowed)


@pytest.mark.parametrize("name", ["network", "sparse coding", "machine"])
@pytest.mark.parametrize("decomposition", ["joint", "log_ratio"])
def test_sampled_elbo(make_device, name, decomposition):
    """The mean of 32 draws, and its standard error."""
    case, num = CASES[name], 32
    q = q_of(case)
    log_z = 0.0
    if name == "machine":
        log_z = naive.bm_log_partition(case.model.couplings.tolist(), case.model.bias.tolist())
    with use(make_device()):
        got = fastvi.elbo(
            case.model, case.x, q, num_samples=num, seed=6, decomposition=decomposition, device="cuda",
            **case.options(),
        )  # fmt: skip
    for n in range(3):
        own = of_free_units(case, q.logits[n])
        rows = [naive.bernoulli_draw(own, 6, n, k) for k in range(num)]
        ratios = drawn_log_weights(case, q.logits, num, 6)[n]
        joints = [t + naive.bernoulli_log_prob(z, own) for t, z in zip(ratios, rows, strict=True)]
        terms = joints if decomposition == "joint" else ratios
        mean = math.fsum(terms) / num
        variance = math.fsum((t - mean) ** 2 for t in terms) / (num - 1)
        exact = naive.bernoulli_entropy(own) if decomposition == "joint" else 0.0
        allowed = 2 * case.rounding + 64 * U * (num + added(q.logits))
        near(got.value[n], mean + exact - log_z, allowed)
        # terms that are off by at most this move a standard deviation by at most sqrt(2) of it
        near(got.std_error[n], math.sqrt(variance / num), 2 * allowed)
