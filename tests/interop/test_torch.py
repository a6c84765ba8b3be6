"""The PyTorch bridge against enumerations in PyTorch, differentiated by autograd."""

from __future__ import annotations

import copy
import gc
import io
import pickle
from typing import Any

import numpy as np
import pytest
from optional import package

import fastvi

pytestmark = pytest.mark.peers
torch = package("torch")

import torch_enumeration as oracle  # noqa: E402  (needs PyTorch)

from fastvi.interop import torch as bridge  # noqa: E402
from fastvi.interop.torch import flat_models, operators, tensors, weight_operators  # noqa: E402

RNG = np.random.default_rng(5)
BITS = RNG.integers(0, 2, (4, 3)).astype(np.float64)
REALS = RNG.standard_normal((4, 3))
# sums of at most 2^6 numbers of size 10 are right to 1e-13; torch's own softplus and logsumexp to as much
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}


def normals(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def network(num_latents: int = 2) -> fastvi.SigmoidBeliefNetwork:
    return fastvi.SigmoidBeliefNetwork(normals(3, num_latents), normals(3), normals(num_latents))


def couplings(num: int) -> np.ndarray:
    upper = np.triu(normals(num, num), 1)
    return upper + upper.T


def decoder(*more: Any) -> fastvi.NeuralDecoder:
    layers = [(normals(4, 2), normals(4)), (normals(3, 4), normals(3))]
    return fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli(normals(2)), *more)


def by_states(joint: Any, num_latents: int = 2) -> Any:
    return lambda p, x: oracle.enumerated(joint, p, x, num_latents)


# model, log p(x) in PyTorch, data
KINDS: dict[str, tuple[Any, Any, np.ndarray]] = {
    "a network": (network(), by_states(oracle.network_joint), BITS),
    "one latent": (network(1), by_states(oracle.network_joint, 1), BITS),
    "a deep network": (
        fastvi.SigmoidBeliefNetwork(
            normals(3, 3),
            normals(3),
            prior=fastvi.SigmoidBeliefNetwork(normals(3, 2), normals(3), normals(2)),
        ),
        by_states(oracle.deep_joint, 3),
        BITS,
    ),
    "sparse coding": (
        fastvi.BinarySparseCoding(normals(3, 2), normals(3), 0.7, normals(2)),
        by_states(oracle.coding_joint),
        REALS,
    ),
    "a decoder": (decoder(), by_states(oracle.decoder_joint), BITS),
    "a decoder of real pixels": (decoder("gaussian", 0.8), by_states(oracle.real_decoder_joint), REALS),
    "a restricted machine": (
        fastvi.RestrictedBoltzmannMachine(normals(3, 2), normals(3), normals(2)),
        oracle.restricted_machine,
        BITS,
    ),
    "a machine": (fastvi.BoltzmannMachine(couplings(3), normals(3)), oracle.machine, BITS),
    "a linear model": (fastvi.LinearGaussian(normals(3, 2), normals(3), 0.6), oracle.linear_gaussian, REALS),
    "a table": (
        fastvi.JointTable(RNG.random((5, 3)), unnormalized=True),
        lambda p, x: torch.log(p["probabilities"][x].sum(1)),
        np.array([0, 4, 4, 2]),
    ),
}
FIXED = {"activation", "likelihood", "prior_kind", "unnormalized"}


def leaves(model: Any, dtype: Any = None) -> dict[str, Any]:
    """The parameters of a model as tensors that want a gradient."""
    return {
        name: torch.tensor(array, dtype=dtype or torch.float64, requires_grad=True)
        for name, array in model.arrays().items()
        if name not in FIXED
    }


def data_of(kind: str) -> Any:
    return torch.tensor(KINDS[kind][2])


def assert_same(found: Any, expected: Any, **tolerance: Any) -> None:
    torch.testing.assert_close(found, expected, **(tolerance or CLOSE))


# ---- values and gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_an_enumeration(kind: str) -> None:
    model, log_p, _ = KINDS[kind]
    x = data_of(kind)
    ours, theirs = leaves(model), leaves(model)
    value, expected = bridge.log_marginal(model, x, **ours), log_p(theirs, x)
    assert_same(value, expected)
    assert value.dtype == torch.float64
    weights = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    found = torch.autograd.grad((weights * value).sum(), list(ours.values()))
    right = torch.autograd.grad((weights * expected).sum(), list(theirs.values()))
    for name, one, other in zip(ours, found, right, strict=True):
        if name == "couplings":  # the enumeration counts the diagonal too, which a machine has not
            other = other.clone().fill_diagonal_(0.0)
        assert_same(one, other, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("a machine", "a table")])
def test_gradients_in_x(kind: str) -> None:
    """Of real pixels, and of binary ones at points between 0 and 1."""
    model, log_p, data = KINDS[kind]
    x = torch.tensor(np.where(data == 1, 0.75, 0.25) if data is BITS else data, requires_grad=True)
    value, fixed = (
        bridge.log_marginal(model, x),
        {name: leaf.detach() for name, leaf in leaves(model).items()},
    )
    expected = log_p(fixed, x)
    assert_same(value, expected)
    (found,), (right,) = (torch.autograd.grad(v.sum(), x) for v in (value, expected))
    assert_same(found, right)


@pytest.mark.parametrize("kind", ["a network", "sparse coding"])
def test_pixels_that_were_not_observed(kind: str) -> None:
    model, log_p, _ = KINDS[kind]
    observed = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], bool)
    ours, x = leaves(model), data_of(kind)
    for mask in (observed, torch.tensor(observed), observed.tolist()):
        value = bridge.log_marginal(model, x, mask, **ours)
        for n, seen in enumerate(observed):
            part = {
                name: leaf[torch.tensor(seen)] if name in ("weights", "bias") else leaf
                for name, leaf in leaves(model).items()
            }
            assert_same(value[n], log_p(part, x[n : n + 1, torch.tensor(seen)])[0])
    value.sum().backward()
    assert bool((ours["bias"].grad != 0).all())


def test_no_data() -> None:
    model, *_ = KINDS["a network"]
    given = leaves(model)
    value = bridge.log_marginal(model, torch.zeros(0, 3), **given)
    value.sum().backward()
    assert value.shape == (0,)
    assert all(not leaf.grad.any() for leaf in given.values())


@pytest.mark.parametrize("scale", [-1e3, 1e3])
def test_extreme_logits(scale: float) -> None:
    model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    given = {"prior_logits": torch.tensor([scale], dtype=torch.float64, requires_grad=True)}
    value = bridge.log_marginal(model, torch.tensor([[1, 0]]), **given)
    z = float(scale > 0)  # the other state has a weight of exp(-1000) = 0
    eta = np.array([2.0, -1.0]) * z + np.array([0.0, 0.5])
    expected = eta[0] - np.logaddexp(0.0, eta).sum()
    value.sum().backward()
    assert value.item() == pytest.approx(expected, rel=1e-12)
    # the posterior mean less z, sums of two states each
    assert abs(given["prior_logits"].grad.item()) <= 2.0**-52


def test_gradcheck() -> None:
    model, *_ = KINDS["a network"]
    names, x = list(leaves(model)), torch.tensor(np.where(BITS == 1, 0.7, 0.2), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, *given: bridge.log_marginal(model, x, **dict(zip(names, given, strict=True))),
        (x, *leaves(model).values()),
    )
    coding, *_ = KINDS["sparse coding"]
    std = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: bridge.log_marginal(coding, REALS, noise_std=s), (std,))


# ---- the ELBO ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "joint"), [("a network", oracle.network_joint), ("sparse coding", oracle.coding_joint)]
)
def test_exact_elbo(kind: str, joint: Any) -> None:
    model, _, _ = KINDS[kind]
    x, logits = data_of(kind), torch.tensor(REALS[:, :2], requires_grad=True)
    ours, theirs = leaves(model), leaves(model)
    value, expected = bridge.elbo(model, x, logits, **ours), oracle.elbo(joint, theirs, x, logits)
    assert_same(value, expected)
    weights = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    found = torch.autograd.grad((weights * value).sum(), [logits, *ours.values()])
    right = torch.autograd.grad((weights * expected).sum(), [logits, *theirs.values()])
    for one, other in zip(found, right, strict=True):
        assert_same(one, other)


def test_sampled_elbo() -> None:
    model, *_ = KINDS["a network"]
    x, num = data_of("a network")[:1], 40_000
    logits = torch.tensor(REALS[:1, :2], requires_grad=True)
    ours, theirs = leaves(model), leaves(model)
    value = bridge.elbo(model, x, logits, num_samples=num, seed=2**64 - 1, **ours)
    assert torch.equal(value, bridge.elbo(model, x, logits, num_samples=num, seed=2**64 - 1))
    assert not torch.equal(value, bridge.elbo(model, x, logits, num_samples=num, seed=3))
    expected = oracle.elbo(oracle.network_joint, theirs, x, logits)
    z = oracle.states(2)
    log_w = oracle.network_joint(theirs, x, z) - oracle.bernoulli(z[None], logits[:, None])
    # an average of draws within a range R has a standard error of at most R / 2 / sqrt(K); that of a draw's
    # gradient, which is at most the log weight's deviation times |z - q| <= 1, of R / sqrt(K): 8 of those
    most = 8 * float((log_w.max() - log_w.min()).detach()) / num**0.5
    assert_same(value, expected, rtol=0, atol=most)
    found = torch.autograd.grad(value.sum(), [logits, *ours.values()])
    right = torch.autograd.grad(expected.sum(), [logits, *theirs.values()])
    for one, other in zip(found, right, strict=True):
        assert_same(one, other, rtol=0, atol=most)


# ---- log weights -------------------------------------------------------------------------------------------

LOG_W = np.array([[0.0, 1.0, -2.0, -np.inf, 3.0], [-np.inf] * 5, [1e3, -1e3, 999.0, 0.0, 1e3]])


def test_log_mean_exp() -> None:
    for dim, array in ((-1, LOG_W), (1, LOG_W), (0, LOG_W.T.copy())):
        log_w = torch.tensor(array, requires_grad=True)
        expected = torch.logsumexp(torch.tensor(array), dim) - np.log(5)
        value = bridge.log_mean_exp(log_w, dim)
        assert_same(value, expected)
        (gradient,) = torch.autograd.grad((torch.tensor([1.0, 2.0, -3.0]) * value).nan_to_num(0).sum(), log_w)
        right = torch.softmax(torch.tensor(array), dim)
        right = (right.T if dim == 0 else right) * torch.tensor([[1.0], [2.0], [-3.0]])
        right = right.nan_to_num(0.0)  # weights that are all 0 have no gradient
        assert_same(gradient.T if dim == 0 else gradient, right)
    assert torch.autograd.gradcheck(bridge.log_mean_exp, (torch.tensor(REALS, requires_grad=True),))


def test_importance_weighted_bound() -> None:
    ours, theirs = (torch.tensor(normals(3, 7), requires_grad=True) for _ in range(2))
    theirs = ours.detach().clone().requires_grad_()
    value = bridge.importance_weighted_bound(ours, 3)
    expected = (torch.logsumexp(theirs[:, :6].reshape(3, 2, 3), 2) - np.log(3)).mean(1)
    assert_same(value, expected)
    weights = torch.tensor([1.0, -2.0, 0.5])
    (found,), (right,) = (
        torch.autograd.grad((weights * v).sum(), leaf) for v, leaf in ((value, ours), (expected, theirs))
    )
    assert_same(found, right)


def test_diagnostics() -> None:
    array = 3.0 * normals(2, 200)
    log_w = torch.tensor(array, requires_grad=True)
    w = torch.softmax(torch.tensor(array), 1)
    assert_same(bridge.effective_sample_size(log_w), 1 / w.square().sum(1))
    smoothed, k = bridge.psis(log_w.T, dim=0)
    assert_same(k, bridge.pareto_k(log_w), rtol=0, atol=0)
    assert np.array_equal(k.numpy(), fastvi.pareto_k(array))
    assert np.array_equal(smoothed.T.numpy(), fastvi.psis(array)[0])
    assert not any(found.requires_grad for found in (k, smoothed, bridge.effective_sample_size(log_w)))
    assert bridge.pareto_k(log_w[0].float()).dtype == torch.float32
    assert bridge.pareto_k(log_w[0]).shape == ()


# ---- operators ---------------------------------------------------------------------------------------------


def test_opcheck() -> None:
    model, *_ = KINDS["a network"]
    text, arrays = flat_models.flattened(model, leaves(model))
    x, logits = torch.tensor(BITS, requires_grad=True), torch.tensor(REALS[:, :2], requires_grad=True)
    mask = torch.tensor([True, False, True])
    torch.library.opcheck(operators.log_marginal, (text, arrays, x, mask, True))
    torch.library.opcheck(operators.log_marginal, (text, arrays, torch.tensor(BITS).bool(), None, False))
    torch.library.opcheck(operators.elbo, (text, arrays, x, logits, "[null, null]", 0))
    log_w = torch.tensor(REALS, requires_grad=True)
    torch.library.opcheck(weight_operators.log_mean_exp, (log_w, 0))
    torch.library.opcheck(weight_operators.importance_weighted_bound, (log_w, 2))
    for operator in ("effective_sample_size", "pareto_k", "psis"):
        torch.library.opcheck(getattr(weight_operators, operator), (log_w.detach(), 1))


def test_opcheck_of_models_that_keep_nothing() -> None:
    for kind in ("a decoder of real pixels", "a machine", "a linear model"):
        model, *_ = KINDS[kind]
        text, arrays = flat_models.flattened(model, leaves(model))
        torch.library.opcheck(operators.log_marginal, (text, arrays, data_of(kind), None, True))


def compiled(function: Any) -> Any:
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def loss(model: Any, x: Any, logits: Any, given: dict[str, Any], seed: int) -> Any:
    """Everything that has gradients."""
    log_w = torch.stack(
        [bridge.elbo(model, x, logits, num_samples=3, seed=seed + k, **given) for k in range(2)], dim=1
    )
    exact = bridge.log_marginal(model, x, **given) - bridge.elbo(model, x, logits, **given)
    return (exact + bridge.log_mean_exp(log_w) + bridge.importance_weighted_bound(log_w, 1)).sum()


def test_compiled_code() -> None:
    """Models of equal shapes are kept apart; seeds and numbers of data do not compile it again."""
    run = compiled(loss)
    x, logits = torch.tensor(BITS), torch.tensor(REALS[:, :2])
    for seed in range(2):
        for model in (network(), network()):
            ours, theirs = leaves(model), leaves(model)
            del ours["bias"], theirs["bias"]  # the model's own
            found, right = run(model, x, logits, ours, seed), loss(model, x, logits, theirs, seed)
            assert_same(found, right, rtol=1e-14, atol=1e-14)
            gradients = [
                torch.autograd.grad(v, list(p.values())) for v, p in ((found, ours), (right, theirs))
            ]
            for one, other in zip(*gradients, strict=True):
                assert_same(one, other, rtol=1e-13, atol=1e-13)


def test_a_compiled_module() -> None:
    """By the backend that differentiates what it traced; the default one takes half a minute to import."""
    module = bridge.Module(network())
    run = compiled(lambda x: module(x).sum())
    for num in (4, 3, 2):
        x = torch.tensor(BITS[:num])
        assert_same(run(x), module(x).sum())
    (gradient,) = torch.autograd.grad(run(x), module.weights)
    assert_same(gradient, torch.autograd.grad(module(x).sum(), module.weights)[0])


def test_second_derivatives_are_refused() -> None:
    model, *_ = KINDS["a network"]
    given = leaves(model)
    logits = torch.tensor(REALS[:, :2], requires_grad=True)
    for value, leaf in (
        (bridge.log_marginal(model, BITS, **given), given["weights"]),
        (bridge.elbo(model, BITS, logits), logits),
        (bridge.log_mean_exp(logits), logits),
        (bridge.importance_weighted_bound(logits, 2), logits),
    ):
        (slope,) = torch.autograd.grad(value.square().sum(), leaf, create_graph=True)
        with pytest.raises(
            TypeError, match=r"^create_graph must be False here, got a second derivative: fastvi"
        ):
            torch.autograd.grad(slope.square().sum(), leaf)


def test_nothing_is_left_behind() -> None:
    """Models that operators built are kept for a few calls only, and those that they were given never."""
    model = network()
    gc.collect()
    before = sum(type(thing) is fastvi.SigmoidBeliefNetwork for thing in gc.get_objects())
    for k in range(50):
        bias = torch.full((3,), float(k), dtype=torch.float64, requires_grad=True)
        bridge.log_marginal(model, BITS, bias=bias).sum().backward()
    gc.collect()
    after = sum(type(thing) is fastvi.SigmoidBeliefNetwork for thing in gc.get_objects())
    assert after - before <= flat_models._recent.maxlen


def test_a_model_is_known_again_by_its_bits() -> None:
    model, *_ = KINDS["a network"]
    text, arrays = flat_models.flattened(model, {})
    built = flat_models.rebuilt(text, arrays)
    assert flat_models.rebuilt(text, [array.clone() for array in arrays]) is built
    for change in (1.0, -0.0):
        other = [array.clone() for array in arrays]
        other[1][0] = 0.0
        zero = flat_models.rebuilt(text, other)
        other[1][0] = change
        assert flat_models.rebuilt(text, other) is not zero
    layers = [(normals(2, 2), normals(2)), (normals(3, 2), normals(3))]
    words = [fastvi.NeuralDecoder(layers, word, fastvi.Bernoulli([0.0, 1.0])) for word in ("tanh", "relu")]
    values = [bridge.log_marginal(word, BITS) for word in words]
    for word, value in zip(words, values, strict=True):
        assert np.array_equal(value.numpy(), bridge.log_marginal(word, BITS).numpy())
    assert not torch.equal(*values)


# ---- dtypes and devices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_dtypes(name: str) -> None:
    dtype = getattr(torch, name)
    model, log_p, _ = KINDS["a network"]
    ours = leaves(model, dtype)
    value = bridge.log_marginal(model, torch.tensor(BITS, dtype=dtype), **ours)
    theirs = {key: leaf.detach().double().requires_grad_() for key, leaf in ours.items()}
    expected = log_p(theirs, torch.tensor(BITS))
    value.sum().backward()
    expected.sum().backward()
    assert value.dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps  # all is float64 inside: each number is rounded once or twice
    assert_same(value.double(), expected, rtol=rounding, atol=0)
    for key, leaf in ours.items():
        assert leaf.grad.dtype == dtype
        assert_same(leaf.grad.double(), theirs[key].grad, rtol=rounding, atol=rounding)
    log_w = torch.tensor(REALS, dtype=dtype, requires_grad=True)
    bridge.log_mean_exp(log_w).sum().backward()
    assert log_w.grad.dtype == dtype
    assert_same(log_w.grad.double(), torch.softmax(log_w.detach().double(), 1), rtol=rounding, atol=rounding)


def test_mixed_dtypes_are_promoted() -> None:
    model, *_ = KINDS["a network"]
    bits = torch.tensor(BITS)
    single = {"bias": torch.zeros(3, requires_grad=True)}
    for x, dtype in (
        (bits.bool(), torch.float32),
        (bits.to(torch.uint8), torch.float32),
        (bits, torch.float64),
    ):
        assert bridge.log_marginal(model, x, **single).dtype == dtype
    assert bridge.log_marginal(model, bits.int()).dtype == torch.float64
    assert bridge.log_marginal(model, bits.bfloat16(), **single).dtype == torch.float32
    assert np.array_equal(
        bridge.log_marginal(model, BITS).numpy(), bridge.log_marginal(model, bits.int()).numpy()
    )


def test_memory_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    model, *_ = KINDS["a network"]
    seen: list[Any] = []
    real = operators.log_marginal_value

    def value(model: Any, x: Any, observed: Any) -> Any:
        seen.append(x)
        return real(model, x, observed)

    monkeypatch.setattr(operators, "log_marginal_value", value)
    for dtype in (torch.float64, torch.uint8, torch.bool):
        x = torch.tensor(BITS).to(dtype)
        bridge.log_marginal(model, x)
        assert np.shares_memory(seen[-1], x.numpy())


def test_words_of_devices() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        here, there = torch.zeros(2), torch.zeros(2, device="cuda")
        wanted = torch.zeros(2, device="cuda", requires_grad=True)
        assert tensors.on_gpu([("x", there), ("bias", there)])
        assert not tensors.on_gpu([("x", here)])
        with torch.no_grad():
            assert tensors.on_gpu([("x", wanted)])
        with pytest.raises(
            ValueError, match=r"^bias must lie on the CPU to get a gradient, got .*: pass bias.cpu"
        ):
            tensors.on_gpu([("x", there), ("bias", wanted)])
        with pytest.raises(ValueError, match=r"^bias must lie on cpu as x does, got a tensor on cuda:0$"):
            tensors.on_gpu([("x", here), ("bias", there)])
    with pytest.raises(ValueError, match=r"^x must lie on a CPU or a CUDA device, got a tensor on meta$"):
        bridge.log_marginal(KINDS["a network"][0], torch.zeros(1, 3, device="meta"))


# ---- wrong input -------------------------------------------------------------------------------------------

ONE = torch.ones(1, 3)
REAL_LATENTS = fastvi.NeuralDecoder(
    [(normals(3, 2), normals(3))], "tanh", fastvi.Normal([0.0] * 2, [1.0] * 2)
)
WRONG: list[tuple[Any, type[Exception], str]] = [
    (
        lambda m: bridge.log_marginal(m, ONE, weight=ONE),
        TypeError,
        "parameters must be named weights, bias, prior_",
    ),
    (
        lambda m: bridge.log_marginal(m, ONE, bias=ONE),
        ValueError,
        r"bias must have shape \(3,\), got \(1, 3\)",
    ),
    (lambda m: bridge.log_marginal(m, ONE, bias=[0.0] * 3), TypeError, "bias must be a tensor .* got list"),
    (
        lambda m: bridge.log_marginal(m, ONE, bias=ONE[0].int()),
        TypeError,
        "bias must be a tensor .* got torch.int32",
    ),
    (lambda m: bridge.log_marginal(m, ONE, bias=ONE[0] / 0), ValueError, "bias must be finite"),
    (lambda m: bridge.log_marginal(m, "x"), TypeError, "x must be a tensor or an array of real numbers"),
    (lambda m: bridge.log_marginal(m, ONE[:, :2]), ValueError, r"x must have shape \(num_data, 3\)"),
    (lambda m: bridge.log_marginal(m, 2 * ONE), ValueError, r"x must lie in \[0, 1\], got 2.0"),
    (lambda m: bridge.log_marginal("m", ONE), TypeError, "model must be"),
    (lambda m: bridge.elbo(m, ONE, [[0.0, 0.0]]), TypeError, "logits must be a tensor .* got list"),
    (lambda m: bridge.elbo(m, ONE, torch.zeros(2, 2)), ValueError, "logits must have shape"),
    (lambda m: bridge.elbo(m, ONE, torch.zeros(1, 2), seed=-1), ValueError, "seed must be"),
    (lambda m: bridge.elbo(m, ONE, torch.zeros(1, 2), num_samples=0), ValueError, "num_samples must be"),
    (
        lambda m: bridge.elbo(m, ONE, torch.zeros(1, 2), num_samples=2, estimator="a"),
        ValueError,
        "estimator must be",
    ),
    (lambda m: bridge.log_mean_exp([0.0]), TypeError, "log_w must be a tensor"),
    (lambda m: bridge.log_mean_exp(ONE, 2), ValueError, r"dim must be -2 \.\.\. 1, got 2"),
    (lambda m: bridge.log_mean_exp(ONE[0, 0]), ValueError, "log_w must have at least 1 axis"),
    (lambda m: bridge.log_mean_exp(ONE / 0), ValueError, "log_w must be finite or -inf"),
    (
        lambda m: bridge.importance_weighted_bound(ONE, 4),
        ValueError,
        "num_samples must be at most K = 3, got 4",
    ),
    (lambda m: bridge.importance_weighted_bound(ONE, [1, 2]), TypeError, "num_samples must be"),
    (lambda m: bridge.Module(KINDS["a table"][0]), TypeError, "model must be one whose latents are bits"),
    (
        lambda m: bridge.Module(REAL_LATENTS),
        TypeError,
        "model must have a Bernoulli prior to be differentiated",
    ),
    (lambda m: bridge.log_marginal(REAL_LATENTS, ONE), TypeError, "model must have a Bernoulli prior"),
]


@pytest.mark.parametrize(
    ("call", "kind", "text"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_input(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=f"^{text}") as caught:
        call(KINDS["a network"][0])
    assert "\n" not in str(caught.value)


def test_models_that_no_graph_can_name() -> None:
    class Local(fastvi.SigmoidBeliefNetwork):
        pass

    with pytest.raises(
        TypeError, match=r"^model must be of a class derived from fastvi.Model that can be imported"
    ):
        bridge.log_marginal(Local([[1.0]], [0.0], [0.0]), torch.ones(1, 1))


def test_probability_0() -> None:
    far = torch.tensor([-np.inf], dtype=torch.float64)
    table = fastvi.JointTable([[0.0, 0.0], [0.5, 0.5]])
    given = leaves(table)
    value = bridge.log_marginal(table, torch.tensor([0]), **given)
    assert torch.equal(value.detach(), far)
    with pytest.raises(ValueError, match=r"^x must have a positive probability for the gradient to exist"):
        value.sum().backward()


# ---- the module --------------------------------------------------------------------------------------------

TRAINED = [kind for kind in KINDS if kind != "a table"]


@pytest.mark.parametrize("kind", TRAINED)
def test_module(kind: str) -> None:
    model, log_p, _ = KINDS[kind]
    module, x = bridge.Module(model), data_of(kind)
    assert [name for name, _ in module.named_parameters()] == list(leaves(model))
    assert_same(module(x), log_p(leaves(model), x))
    back = module.to_fastvi()
    assert type(back) is type(model)
    assert all(np.array_equal(array, back.arrays()[name]) for name, array in model.arrays().items())
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    start = module(x).sum().item()
    for _ in range(3):
        optimizer.zero_grad()
        (-module(x).sum()).backward()
        optimizer.step()
    assert module(x).sum().item() > start
    trained = module.to_fastvi()
    assert_same(module(x).detach(), torch.tensor(fastvi.log_marginal(trained, KINDS[kind][2])))
    other = bridge.Module(model)
    other.load_state_dict(module.state_dict())
    copies = [other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    for again in copies:
        assert torch.equal(again(x), module(x))
    single = copy.deepcopy(module).to(torch.float32)
    assert single(x.float()).dtype == torch.float32
    # parameters that are rounded to 2^-24 move log p(x), of a slope below 1e3 here, by less than 1e-3
    assert_same(single(x.float()).double(), module(x), rtol=0, atol=1e-3)


def test_a_module_keeps_what_a_model_allows() -> None:
    model, *_ = KINDS["a machine"]
    module = bridge.Module(model)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (-module(torch.tensor(BITS)).sum()).backward()
        optimizer.step()
    assert torch.equal(module.couplings, module.couplings.T)
    with torch.no_grad():  # what no step does, and a caller may
        module.couplings += torch.arange(9.0).reshape(3, 3)
    found = module.to_fastvi().couplings
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()
    coding = bridge.Module(KINDS["sparse coding"][0])
    with torch.no_grad():
        coding.noise_std.neg_()
    coding(torch.tensor(REALS)).sum().backward()
    assert coding.to_fastvi().noise_std == 0.7
    positive = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    bridge.log_marginal(KINDS["sparse coding"][0], REALS, noise_std=positive).sum().backward()
    assert_same(coding.noise_std.grad, -positive.grad)


def test_a_machine_with_couplings_of_minus_infinity() -> None:
    coupled = couplings(3)
    coupled[0, 1] = coupled[1, 0] = -np.inf
    module = bridge.Module(fastvi.BoltzmannMachine(coupled, [0.1, 0.2, 0.3]))
    value = module(torch.tensor([[1, 0, 1], [0, 1, 0]]))
    value.sum().backward()
    assert module.couplings.grad[0, 1] == 0.0
    assert bool(torch.isfinite(module.couplings.grad).all())
    assert np.array_equal(module.to_fastvi().couplings, coupled)


def test_a_module_is_saved() -> None:
    module, file = bridge.Module(network()), io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    assert list(torch.load(file)) == ["weights", "bias", "prior_logits"]
    assert repr(module) == "Module(weights=(3, 2), bias=(3,), prior_logits=(2,))"
