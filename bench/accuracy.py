"""Largest errors of fastvi against 50 digits: ``python bench/accuracy.py`` writes them into a page.

In ``docs/accuracy.md`` they stand between the lines ``<!-- bench:start -->`` and ``<!-- bench:end -->``.
``--stdout`` prints them instead.

Models are small, so that mpmath can go through all states (``exact_answers.py``), and inputs are both usual
and extreme. One process takes less than a minute, once kernels are compiled.
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import exact_answers as exact
import numpy as np
import report

import fastvi

_PAGE = Path(__file__).resolve().parent.parent / "fastvi" / "docs" / "accuracy.md"
_EPS = 2.0**-52
_LARGE = 256  # times (D + 1024): from there on logits are summed another way, with another bound


class Case(NamedTuple):
    """A question whose answer is known."""

    model: str
    inputs: str
    found: dict[str, np.ndarray]  # by column
    wanted: dict[str, Any]
    stated: float | None  # the error of log p(x) or log Z that the documents allow, in nats


class Row(NamedTuple):
    """Largest errors of a case; None where it was not asked."""

    model: str
    inputs: str
    nats: float
    ulp: float
    stated: float | None
    mean: float | None
    elbo: float | None  # this one and the next relative to the number, or to 1 nat where that is larger
    kl: float | None
    slopes: float | None  # in the weights, relative to the largest of them


def error(found: np.ndarray, wanted: Any, unit: Callable[[float], float] = lambda want: 1.0) -> float:
    """The largest error of floats against numbers of 50 digits, each in a unit of its own."""
    flat = np.ravel(np.array(wanted, dtype=object))
    return max(
        float(abs(exact.mp.mpf(float(value)) - want)) / unit(float(want))
        for value, want in zip(np.ravel(found), flat, strict=True)
    )


def row_of(case: Case) -> Row:
    found, wanted = case.found, case.wanted
    nats, ulp = error(found["log"], wanted["log"]), error(found["log"], wanted["log"], math.ulp)
    mean = error(found["mean"], wanted["mean"]) if "mean" in found else None
    elbo, kl = (
        error(found[name], wanted[name], lambda want: max(1.0, abs(want))) if name in found else None
        for name in ("elbo", "kl")
    )
    slopes = None
    if "slopes" in found:
        largest = float(np.abs(found["slopes"]).max())
        slopes = error(found["slopes"], wanted["slopes"], lambda want: largest)
    return Row(case.model, case.inputs, nats, ulp, case.stated, mean, elbo, kl, slopes)


def stated_bound(num_pixels: int, num_latents: int, size: float, largest: float = 0.0) -> float:
    """As the docstring of ``fastvi.log_marginal`` has it, of float64."""
    factor = (num_pixels + num_latents + 40) * _EPS
    if size > _LARGE * (num_pixels + 1024):
        return factor * max(1.0, largest)
    return factor * (size + num_pixels + num_latents)


def _of_model(
    model: Any, x: np.ndarray | None, table: list[exact.Row], num: int, q_logits: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What fastvi finds for a model of bits, and what it should."""
    q = fastvi.Bernoulli(q_logits)
    machine = {} if x is not None else {"normalized": False}
    posterior = fastvi.exact_posterior(model, x, **machine)
    found = {
        "log": fastvi.log_marginal(model, x) if x is not None else np.array([fastvi.log_partition(model)]),
        "mean": posterior.mean,
        "elbo": fastvi.elbo(model, x, q, **machine).value,
        "kl": fastvi.kl_to_posterior(model, x, q),
    }
    want = exact.enumerated(table, num, q_logits)
    return found, dict(zip(("log", "mean", "elbo", "kl"), want, strict=True))


def _bits(rng: np.random.Generator, num_pixels: int) -> np.ndarray:
    """Four data: nothing, everything, and two at random."""
    return np.stack([np.zeros(num_pixels), np.ones(num_pixels), *rng.integers(0, 2, (2, num_pixels))])


def networks(d: int, num_pixels: int) -> Iterator[Case]:
    for inputs, scale, prior in (
        ("weights 1", 1.0, 1.0),
        ("weights 1e-8", 1e-8, 1e-8),
        ("weights 100", 100.0, 1.0),
        ("weights 1e5", 1e5, 1.0),
        ("prior logits 500", 1.0, 500.0),
    ):
        rng = np.random.default_rng(1)
        w, b = scale * rng.normal(size=(num_pixels, d)), scale * rng.normal(size=num_pixels)
        p, x, q_logits = prior * rng.normal(size=d), _bits(rng, num_pixels), rng.normal(size=(4, d))
        weights, bias = exact.numbers(w), exact.numbers(b)

        def logits(z: Sequence[int], weights: Any = weights, bias: Any = bias) -> exact.Row:
            return exact.affine(weights, bias, z)

        model, table = fastvi.SigmoidBeliefNetwork(w, b, p), exact.network(logits, p, x)
        found, wanted = _of_model(model, x, table, d, q_logits)
        found["slopes"] = fastvi.log_marginal_gradient(model, x)["weights"]
        wanted["slopes"] = exact.weight_slopes(logits, table, d, x)
        largest = float(max(abs(value) for value in wanted["log"]))
        stated = stated_bound(num_pixels, d, _size(w, b, p), largest)
        yield Case("`SigmoidBeliefNetwork`", inputs, found, wanted, stated)
        if scale == prior == 1.0:
            single = {"log": fastvi.log_marginal(model, x, dtype="float32")}
            stated = 3 * (num_pixels + 1) * 2.0**-24
            yield Case("the same in float32", inputs, single, wanted, stated)


def decoders(d: int, num_pixels: int) -> Iterator[Case]:
    hidden = 8
    for inputs, scale in (("weights 1", 1.0), ("weights 100", 100.0)):
        rng = np.random.default_rng(2)
        layers = [
            (scale * rng.normal(size=(out, into)), scale * rng.normal(size=out))
            for out, into in ((hidden, d), (num_pixels, hidden))
        ]
        p, x, q_logits = rng.normal(size=d), _bits(rng, num_pixels), rng.normal(size=(4, d))
        (w1, b1), (w2, b2) = [(exact.numbers(w), exact.numbers(b)) for w, b in layers]

        def logits(z: Sequence[int], w1: Any = w1, b1: Any = b1, w2: Any = w2, b2: Any = b2) -> exact.Row:
            return exact.affine(w2, b2, [exact.mp.tanh(t) for t in exact.affine(w1, b1, z)])

        model = fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli(p))
        found, wanted = _of_model(model, x, exact.network(logits, p, x), d, q_logits)
        largest = float(max(abs(value) for value in wanted["log"]))
        # of tanh: no feature is above 1
        stated = stated_bound(num_pixels, d, _size(*layers[1], p), largest)
        yield Case("`NeuralDecoder`, tanh", inputs, found, wanted, stated)


def integrals() -> Iterator[Case]:
    rng = np.random.default_rng(8)
    layers = [(rng.normal(size=(4, 1)), rng.normal(size=4)), (rng.normal(size=(6, 4)), rng.normal(size=6))]
    x = _bits(rng, 6)
    found = {"log": fastvi.log_marginal(fastvi.NeuralDecoder(layers, "tanh", fastvi.Normal([0.0], [1.0])), x)}
    wanted = {"log": exact.integrals(layers, x)}
    yield Case("the same, a normal latent", "weights 1", found, wanted, 1e-8)


def codings(d: int, num_pixels: int) -> Iterator[Case]:
    for inputs, noise in (("noise 1", 1.0), ("noise 0.01", 0.01), ("noise 1e-6", 1e-6)):
        rng = np.random.default_rng(3)
        w, b, p = rng.normal(size=(num_pixels, d)), rng.normal(size=num_pixels), rng.normal(size=d)
        x = rng.integers(0, 2, (4, d)) @ w.T + b + noise * rng.normal(size=(4, num_pixels))
        q_logits = rng.normal(size=(4, d))
        table = exact.coding(w, b, noise, p, x)
        found, wanted = _of_model(fastvi.BinarySparseCoding(w, b, noise, p), x, table, d, q_logits)
        yield Case("`BinarySparseCoding`", inputs, found, wanted, None)


def machines(d: int) -> Iterator[Case]:
    for inputs, scale in (("couplings 1", 1.0), ("couplings 1,000", 1e3)):
        rng = np.random.default_rng(4)
        j, h = scale * np.triu(rng.normal(size=(d, d)), 1), scale * rng.normal(size=d)
        found, wanted = _of_model(
            fastvi.BoltzmannMachine(j + j.T, h), None, exact.machine(j, h), d, rng.normal(size=(1, d))
        )
        yield Case("`BoltzmannMachine`", inputs, found, wanted, stated_bound(d, d, _size(j, h)))
    for inputs, scale in (("weights 1", 1.0), ("weights 100", 100.0)):
        rng = np.random.default_rng(5)
        w, b, c = (scale * rng.normal(size=shape) for shape in ((2 * d, d), 2 * d, d))
        row = exact.restricted(w, b, c)
        found = {"log": np.array([fastvi.log_partition(fastvi.RestrictedBoltzmannMachine(w, b, c))])}
        wanted, stated = {"log": [exact.log_sum(row[0])]}, stated_bound(2 * d, d, _size(w, b, c))
        yield Case("the same, restricted", inputs, found, wanted, stated)


def _size(*arrays: np.ndarray) -> float:
    return sum(float(np.abs(array).sum()) for array in arrays)


def formulas() -> Iterator[Case]:
    """What needs no sum over states."""
    for inputs, noise in (("noise 1", 1.0), ("noise 1e-4", 1e-4)):
        rng = np.random.default_rng(6)
        w, b = rng.normal(size=(10, 3)), rng.normal(size=10)
        x = rng.normal(size=(4, 3)) @ w.T + b + noise * rng.normal(size=(4, 10))
        found = {"log": fastvi.log_marginal(fastvi.LinearGaussian(w, b, noise), x)}
        yield Case("`LinearGaussian`", inputs, found, {"log": exact.linear_gaussian(w, b, noise, x)}, None)
    for inputs, scale in (("weights 1", 1.0), ("weights 1,000", 1e3)):
        log_w = scale * np.random.default_rng(7).normal(size=(4, 1000))
        log_w[:2, ::3] = -np.inf
        found = {"log": fastvi.log_mean_exp(log_w)}
        yield Case("`log_mean_exp`", inputs, found, {"log": exact.log_mean_exp(log_w)}, None)


def cases(d: int = 7, num_pixels: int = 20) -> Iterator[Case]:
    """Every row of the table, of models of d latents."""
    yield from networks(d, num_pixels)
    yield from decoders(min(d, 6), num_pixels)
    yield from integrals()
    yield from codings(d, num_pixels)
    yield from machines(d)
    yield from formulas()


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def block(rows: Sequence[Row], about: str) -> str:
    """What goes between the markers: two tables, the second of what else was asked."""
    lines = [about, "", "| model | inputs | error | ulp | allowed |", "|---|---|---|---|---|"]
    for row in rows:
        numbers = f"{row.nats:.1e} | {row.ulp:.3g} | {_shown(row.stated)}"
        lines.append(f"| {row.model} | {row.inputs} | {numbers} |")
    lines += ["", "| model | inputs | means | ELBO | KL | gradient |", "|---|---|---|---|---|---|"]
    for row in rows:
        if row.mean is not None:
            numbers = " | ".join(_shown(value) for value in (row.mean, row.elbo, row.kl, row.slopes))
            lines.append(f"| {row.model} | {row.inputs} | {numbers} |")
    return "\n".join(lines)


def _about() -> str:
    import machine
    from llvmlite import binding

    versions = {**machine.versions(), "fastvi": fastvi.__version__}
    named = ", ".join(f"{name} {versions[name]}" for name in ("fastvi", "numpy", "numba", "llvmlite"))
    today = datetime.date.today()
    return (
        f"{machine.cpu_name()} ({binding.get_host_cpu_name()}), {today:%d %B %Y}; {named}; "
        f"mpmath at {exact.DIGITS} digits."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=_PAGE)
    parser.add_argument("--stdout", action="store_true", help="print the table and leave the page as it is")
    options = parser.parse_args(arguments)
    text = block([row_of(case) for case in cases()], _about())
    if options.stdout:
        print(text)
    else:
        page = options.page.read_text(encoding="utf-8")
        report.write_whole(options.page, report.insert(page, text, options.page.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
