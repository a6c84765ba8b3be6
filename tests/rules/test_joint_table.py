"""Every question about a table, against sums over its entries with 60 digits."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import naive_tables as naive
import numpy as np
import pytest

import fastvi
from fastvi.core.registry import rules_of

EYES = [
    [0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00],
    [0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06],
    [0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06],
]
RNG = np.random.default_rng(5)
TABLES = {
    "eyes": EYES,
    "an impossible row and column": [[0.25, 0.0, 0.5], [0.0, 0.0, 0.0], [0.125, 0.0, 0.125]],
    "one x": [[0.125, 0.5, 0.375]],
    "one z": [[0.25], [0.0], [0.75]],
    "extremes": [[5e-324, 1e-300, 1.0], [1e-12, 0.0, 1e300], [3e-308, 4e-308, 0.0]],
    "many": RNG.exponential(size=(4, 300)).tolist(),
}
QS = {"spread": 2.0, "far": 1e3}
# logarithms of entries, and of q, are right to a unit in the last place of numbers up to 1,800 in size
# (logits of +-1e3, entries from 5e-324 to 1e300), 2.3e-13; sums over z add a few of these, weighted by q
ATOL = 1e-12


QUESTIONS = (
    "log_marginal", "log_marginal_gradient", "exact_posterior", "elbo", "kl_to_posterior",
    "kl_from_posterior", "chi_square_bound",
)  # fmt: skip


def table_of(entries):
    return fastvi.JointTable(entries, unnormalized=True)


def logits_for(entries, num_data, scale, seed=0):
    """Logits (N, num_z): spread ones, and one row that rules a category out."""
    logits = np.random.default_rng(seed).normal(scale=scale, size=(num_data, len(entries[0])))
    if logits.shape[1] > 1:
        logits[0, 0] = -np.inf
    return logits


def close(found, expected):
    expected = np.array([float(value) for value in expected])
    size = np.maximum(1.0, np.abs(expected))
    both = np.isfinite(expected)
    assert np.array_equal(np.isfinite(found), both)
    assert np.array_equal(found[~both], expected[~both], equal_nan=True)
    assert (np.abs(found[both] - expected[both]) <= ATOL * size[both]).all()


def asked(entries):
    """Every x, the last one twice, the second time not seen: rows, mask, what the oracle is asked about."""
    rows = [*range(len(entries)), len(entries) - 1]
    mask = np.ones((len(rows), 1), bool)
    mask[-1] = False
    return rows, mask, [*range(len(entries)), None]


@pytest.fixture(params=TABLES)
def entries(request):
    return TABLES[request.param]


# ---- the posterior -----------------------------------------------------------------------------------------


def test_posterior(entries):
    rows, mask, named = asked(entries)
    found = fastvi.exact_posterior(table_of(entries), rows, observed=mask, top_k=min(2, len(entries[0])))
    close(found.log_marginal, [naive.log_marginal(entries, x) for x in named])
    assert np.array_equal(found.log_marginal, fastvi.log_marginal(table_of(entries), rows, observed=mask))
    for n, x in enumerate(named):
        p = naive.posterior(entries, x)
        if p is None:
            assert np.isnan(found.probabilities[n]).all()
            assert np.isnan([found.entropy[n], found.mode_log_prob[n], *found.top_log_probs[n]]).all()
            continue
        np.testing.assert_allclose(found.probabilities[n], [float(each) for each in p], rtol=ATOL, atol=0)
        close(found.log_prob(0)[n : n + 1], [naive.log(p[0])])
        close(found.entropy[n : n + 1], [naive.entropy(p)])
        best = sorted(range(len(p)), key=lambda z: -p[z])
        assert found.mode[n] == best[0]
        assert found.top_states[n].tolist() == best[: found.top_states.shape[1]]
        close(found.top_log_probs[n], [naive.log(p[z]) for z in best[: found.top_states.shape[1]]])


def test_every_row_in_order_and_no_data():
    table = table_of(EYES)
    assert np.array_equal(
        fastvi.exact_posterior(table).probabilities, fastvi.exact_posterior(table, [0, 1, 2]).probabilities
    )
    none = fastvi.exact_posterior(table, [], top_k=2)
    assert (none.probabilities.shape, none.top_states.shape, none.sample(3, 0).shape) == (
        (0, 8), (0, 2), (3, 0)
    )  # fmt: skip
    assert len(fastvi.elbo(table, [], fastvi.Categorical(np.zeros((0, 8))))) == 0
    assert fastvi.kl_to_posterior(table, [], fastvi.Categorical(np.zeros(8))).shape == (0,)
    assert len(fastvi.fit_posterior(table, [])) == 0
    assert len(fastvi.estimate_log_marginal(table, [], proposal=fastvi.Categorical(np.zeros(8)))) == 0


def test_draws_of_the_posterior():
    """A draw belongs to its datum's number; shares are within 4.5 standard deviations of p(z | x)."""
    posterior = fastvi.exact_posterior(table_of(EYES))
    z = posterior.sample(10_000, 3)
    assert np.array_equal(z, posterior.distribution.sample(10_000, 3))
    assert np.array_equal(posterior[1].sample(9, 3), z[:9, 1:2])
    assert np.array_equal(pickle.loads(pickle.dumps(posterior))[1:].sample(9, 3), z[:9, 1:])
    for n in range(3):
        p = np.array([float(each) for each in naive.posterior(EYES, n)])
        share = np.bincount(z[:, n], minlength=8) / len(z)
        assert (np.abs(share - p) <= 4.5 * np.sqrt(p * (1 - p) / len(z))).all()
    log_p = posterior.log_prob(z[:5])
    assert log_p.shape == (5, 3)
    assert np.array_equal(log_p[2], posterior.log_probs[np.arange(3), z[2]])


def test_what_is_impossible_has_no_posterior():
    posterior = fastvi.exact_posterior(fastvi.JointTable([[0.5, 0.5], [0.0, 0.0]]))
    for ask in (lambda: posterior.sample(1, 0), lambda: posterior.distribution):
        with pytest.raises(ValueError, match=r"^x must have a positive probability .*, got 0 at index 1$"):
            ask()
    assert posterior[0].distribution == fastvi.Categorical([[math.log(0.5)] * 2])


@pytest.mark.parametrize("entries", [EYES, TABLES["many"]], ids=["eyes", "many"])
@pytest.mark.parametrize(
    "name", [*QUESTIONS, pytest.param("elbo sampled", marks=pytest.mark.slow_without_jit)]
)
def test_what_a_memory_limit_counts_is_enough(entries, name):
    """The bytes that a refusal states are at least the peak of the call, and at most five times that."""
    table, x = table_of(entries), np.zeros(3000, np.int64)
    function = getattr(fastvi, name.split()[0])
    more = () if name in QUESTIONS[:3] else (fastvi.Categorical(np.zeros(table.num_z)),)

    def ask(**limit):
        return function(table, x, *more, **limit, **({"num_samples": 50} if "sampled" in name else {}))

    ask()  # what is made once
    with pytest.raises(ValueError, match=r"^memory_limit is 1 bytes") as caught:
        ask(memory_limit=1)
    need = int(str(caught.value).split(" would take ")[1].split()[0].replace(",", ""))
    tracemalloc.start()
    kept = ask(memory_limit=need)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) in (1, 3000)
    assert peak <= need <= 5 * peak


# ---- bounds and divergences --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", QS.values(), ids=QS)
def test_the_elbo_and_its_parts(entries, scale):
    rows, mask, named = asked(entries)
    logits = logits_for(entries, len(rows), scale)
    table, q = table_of(entries), fastvi.Categorical(logits)
    expected = [naive.elbo_parts(entries, x, own) for x, own in zip(named, logits.tolist(), strict=True)]
    value, reconstruction, kl, joint, entropy = zip(*expected, strict=True)
    for form_of in (None, "reconstruction", "joint", "log_ratio"):
        found = fastvi.elbo(table, rows, q, observed=mask, decomposition=form_of)
        close(found.value, value)
        close(found.reconstruction, reconstruction)
        close(found.kl_to_prior, kl)
        close(found.expected_log_joint, joint)
        close(found.entropy, entropy)
        assert not found.std_error.any()


@pytest.mark.parametrize("scale", QS.values(), ids=QS)
def test_divergences(entries, scale):
    rows, mask, named = asked(entries)
    logits = logits_for(entries, len(rows), scale)
    table, q = table_of(entries), fastvi.Categorical(logits)
    to, of, chi = [], [], []
    for x, own in zip(named, logits.tolist(), strict=True):
        p, w = naive.posterior(entries, x), naive.softmax(own)
        to.append(math.nan if p is None else naive.kl(w, p))
        of.append(math.nan if p is None else naive.kl(p, w))
        chi.append(naive.chi_square_bound(entries, x, own))
    close(fastvi.kl_to_posterior(table, rows, q, observed=mask), to)
    close(fastvi.kl_from_posterior(table, rows, q, observed=mask), of)
    close(fastvi.chi_square_bound(table, rows, q, observed=mask), chi)


def test_a_q_of_all_data_and_one_for_each():
    table, logits = table_of(EYES), np.linspace(-1.0, 1.0, 8)
    shared, each = fastvi.Categorical(logits), fastvi.Categorical([logits] * 3)
    for ask in (
        lambda q: fastvi.elbo(table, None, q).value,
        lambda q: fastvi.elbo(table, None, q, num_samples=7, seed=2).value,
        lambda q: fastvi.kl_to_posterior(table, None, q),
        lambda q: fastvi.kl_from_posterior(table, None, q),
        lambda q: fastvi.chi_square_bound(table, None, q),
        lambda q: fastvi.estimate_log_marginal(table, proposal=q, num_samples=7).log_marginal,
    ):
        assert np.array_equal(ask(shared), ask(each))


def test_a_datum_does_not_depend_on_the_others():
    """Not on how many there are, nor on the blocks they are worked on in: 300 z a datum, 218 data a block."""
    table = table_of(TABLES["many"])
    x = np.random.default_rng(0).integers(0, 4, 700)
    q = fastvi.Categorical(np.random.default_rng(1).normal(size=(700, 300)))
    some = np.array([0, 217, 218, 699])
    part = fastvi.Categorical(q.logits[some])
    for ask in (fastvi.kl_to_posterior, fastvi.kl_from_posterior, fastvi.chi_square_bound):
        assert np.array_equal(ask(table, x, q)[some], ask(table, x[some], part))
    assert np.array_equal(fastvi.elbo(table, x, q).value[some], fastvi.elbo(table, x[some], part).value)
    whole, few = fastvi.exact_posterior(table, x), fastvi.exact_posterior(table, x[some])
    assert np.array_equal(whole.log_probs[some], few.log_probs)
    assert np.array_equal(whole.entropy[some], few.entropy)


@pytest.mark.parametrize("form_of", ["reconstruction", "joint", "log_ratio"])
def test_the_sampled_elbo(form_of):
    """Within 4.5 standard errors of the exact one; its parts fit together."""
    table, q = table_of(EYES), fastvi.Categorical([0.5, 0.1, -0.3, 0.2, 0.0, 0.4, -1.0, -np.inf])
    exact = fastvi.elbo(table, None, q)
    found = fastvi.elbo(table, None, q, num_samples=10_000, seed=1, decomposition=form_of)
    assert (np.abs(found.value - exact.value) <= 4.5 * found.std_error).all()
    # sums of numbers below 10
    for parts in (found.reconstruction - found.kl_to_prior, found.expected_log_joint + found.entropy):
        np.testing.assert_allclose(parts, found.value, rtol=0, atol=1e-14)
    # of draws: log p(x, z) - log q(z), whatever the form is, up to what is added exactly
    z = q.sample(10_000, 1)
    if form_of == "log_ratio":
        log_w = table.log_joint([[0, 1, 2]], np.tile(z[:, :1], 3)) - q.log_prob(z[:, :1])
        # of a mean of 10,000 numbers below 10, summed in another order; datum 0 has the draws of number 0
        np.testing.assert_allclose(found.value[0], log_w[:, 0].mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form_of", ["reconstruction", "joint", "log_ratio"])
def test_the_sampled_elbo_of_what_is_impossible(form_of):
    """A q that reaches an entry of 0 by some draw, a column of zeros, a row of zeros: -inf, not NaN."""
    table = fastvi.JointTable([[0.5, 0.0, 0.25], [0.0, 0.0, 0.25], [0.0, 0.0, 0.0]])
    for logits, parts in (([0.0, -np.inf, 0.0], [False, True, True]), ([0.0, 0.0, 0.0], [True] * 3)):
        found = fastvi.elbo(table, None, fastvi.Categorical(logits), num_samples=100, decomposition=form_of)
        assert (found.value == -np.inf).tolist() == parts
        assert (found.reconstruction == -np.inf).tolist() == parts
        assert (found.expected_log_joint == -np.inf).tolist() == parts


def test_the_interval_holds_log_p(entries):
    rows, mask, named = asked(entries)
    low, high = rules_of(table_of(entries), tables=True).log_marginal_interval(rows, mask)
    for n, x in enumerate(named):
        exact = naive.log_marginal(entries, x)
        if exact == -math.inf:
            assert low[n] == high[n] == exact
        else:
            assert low[n] < exact < high[n] <= low[n] + 1e-11


# ---- estimates ---------------------------------------------------------------------------------------------


def test_estimates_with_a_categorical_q():
    table = table_of(EYES)
    posterior = fastvi.exact_posterior(table)
    one = fastvi.estimate_log_marginal(table, proposal=posterior.distribution, num_samples=1)
    # a weight is p(x, z) / p(z | x): three logarithms below 10 in size
    np.testing.assert_allclose(one.log_marginal, posterior.log_marginal, rtol=0, atol=1e-14)
    q = fastvi.Categorical(np.linspace(-1.0, 1.0, 24).reshape(3, 8))
    found = fastvi.estimate_log_marginal(table, proposal=q, num_samples=1000, seed=4)
    assert (np.abs(found.log_marginal - posterior.log_marginal) <= 4.5 * found.std_error).all()
    z = q.sample(1000, 4)
    log_w = table.log_joint([[0, 1, 2]], z) - q.log_prob(z)
    again = fastvi.diagnose(log_w.T)
    np.testing.assert_allclose(found.log_marginal, again.log_marginal, rtol=0, atol=1e-13)
    with ThreadPoolExecutor(2) as executor:
        by_workers = fastvi.estimate_log_marginal(
            table, proposal=q, num_samples=1000, seed=4, executor=executor
        )
    assert np.array_equal(by_workers.log_marginal, found.log_marginal)
    # x that was not seen: every weight is c(z) / q(z), and the prior makes all of them the total
    unseen = fastvi.estimate_log_marginal(table, proposal="prior", num_samples=3, observed=[False])
    np.testing.assert_allclose(unseen.log_marginal, math.log(0.99), rtol=0, atol=1e-15)


@pytest.mark.slow_without_jit
def test_calibration_finds_the_variance_of_the_formula():
    table, q = table_of(EYES), fastvi.Categorical(np.linspace(-0.5, 0.5, 8))
    found = fastvi.calibrate(table, proposals={"q": q}, num_samples=50, num_repeats=2000)["q"]
    expected = np.array([float(naive.relative_variance(EYES, x, naive.softmax(q.logits))) for x in range(3)])
    # a variance of 2,000 means of 50 weights, near to normal: its relative error is sqrt(2 / 2,000), 3.2 %
    np.testing.assert_allclose(found.relative_variance, expected / 50, rtol=4.5 * 0.032)


def test_the_gradient_of_what_was_not_seen():
    """Its log p is the log of the total, in which every entry counts once."""
    table = fastvi.JointTable([[0.125, 0.25], [0.5, 0.125]])
    seen = fastvi.log_marginal_gradient(table, [0, 1], observed=[[True], [False]])["probabilities"]
    assert seen.tolist() == [[1 / 0.375 + 1.0] * 2, [1.0] * 2]


# ---- fits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["reverse_kl", "forward_kl"])
def test_the_posterior_is_its_own_fit(objective):
    table = table_of(EYES)
    fit = fastvi.fit_posterior(table, None, objective=objective)
    posterior = fastvi.exact_posterior(table)
    assert fit.q == posterior.distribution
    assert fit.converged.all()
    expected = posterior.log_marginal if objective == "reverse_kl" else np.zeros(3)
    assert np.array_equal(fit.objective, expected)
    assert fit.history.tolist() == [expected.mean()]
    # the square of the rounding of a log probability
    assert fastvi.kl_to_posterior(table, None, fit.q).max() < 1e-28
    np.testing.assert_allclose(fastvi.elbo(table, None, fit.q).value, posterior.log_marginal, atol=1e-14)


@pytest.mark.parametrize("objective", ["exact", "em"])
def test_learning_counts(objective):
    table = fastvi.JointTable([[0.125, 0.25, 0.0], [0.375, 0.125, 0.125], [0.0, 0.0, 0.0]])
    x = [0, 1, 1, 1, 0, 1, 1, 1]
    fit = fastvi.fit_model(table, x, objective=objective, num_epochs=3)
    rows = np.array(table.probabilities[:2])
    shares = np.array([0.25, 0.75])
    # a quotient and a product: 3 roundings
    np.testing.assert_allclose(
        fit.model.probabilities[:2], rows / rows.sum(axis=1)[:, None] * shares[:, None], rtol=4e-16
    )
    assert not fit.model.probabilities[2].any()
    assert fit.history[1:] == pytest.approx([(shares * np.log(shares)).sum()] * 3, rel=1e-15)
    assert (fit.best_epoch, bool(fit.converged)) == (1, True)
    assert fit.history[0] == pytest.approx(0.25 * math.log(0.375) + 0.75 * math.log(0.625), rel=1e-15)
    # nothing that is learned from rows can do better
    assert fit.objective >= fastvi.log_marginal(fastvi.JointTable([[0.26], [0.74]]), x).mean()
    posterior, before = fastvi.exact_posterior(fit.model, [0, 1]), fastvi.exact_posterior(table, [0, 1])
    np.testing.assert_allclose(posterior.probabilities, before.probabilities, rtol=1e-15)


def test_learning_with_weights_masks_and_held_out_rows(tmp_path):
    table = table_of(EYES)
    weighted = fastvi.fit_model(table, [0, 1, 2], data_weights=[3.0, 1.0, 0.0]).model
    # the total stays
    np.testing.assert_allclose(weighted.probabilities.sum(axis=1), [0.7425, 0.2475, 0.0], rtol=1e-15)
    assert weighted.total == pytest.approx(0.99, rel=1e-15)
    masked = fastvi.fit_model(table, [0, 1, 2], observed=[[True], [True], [False]]).model
    np.testing.assert_allclose(masked.probabilities.sum(axis=1), [0.495, 0.495, 0.0], rtol=1e-15)
    unseen = fastvi.fit_model(table, [0, 1], observed=[False], num_epochs=1)
    assert unseen.model == table
    # a row that was not met is impossible under the counts: the start is better for it
    held = fastvi.fit_model(table, [0, 0, 1], held_out=[2], num_epochs=2)
    assert held.model == table
    assert held.history[1:].tolist() == [-math.inf] * 2
    assert not held.converged
    # kept in a file, and gone on from
    path = tmp_path / "run.npz"
    first = fastvi.fit_model(table, [0, 0, 1], num_epochs=2, checkpoint=path)
    again = fastvi.fit_model(table, [0, 0, 1], num_epochs=2, checkpoint=path)
    assert again.model == first.model


# ---- tables of other programs ------------------------------------------------------------------------------


def test_results_as_tables():
    posterior = fastvi.exact_posterior(table_of(EYES), top_k=1)
    assert repr(posterior).startswith("TablePosterior(num_data=3, num_z=8, mean log_marginal=-1.16")
    assert "<td>4</td>" in posterior._repr_html_()  # the mode of the first row
    assert len(posterior[1:]) == 2
    assert posterior[-1].mode.tolist() == [2]
