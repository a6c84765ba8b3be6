"""How close fastvi.plan comes to the seconds that a question then takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from problems import Size, random_decoder, random_machine, random_problem, restricted_machine

import fastvi

_MOST = (
    3.0  # factor between predicted and true seconds; the docstring of fastvi.plan says 2 on an idle machine
)


class _Question(NamedTuple):
    title: str
    model: Any
    num_data: int
    name: str  # as plan knows it
    ask: Callable[[], Any]

    def predicted_seconds(self) -> float:
        return fastvi.plan(self.model, self.num_data, question=self.name).predicted_seconds


def _questions(size: Size) -> list[_Question]:
    """Some of the jobs of this table."""
    *parameters, few = random_problem(size.headline)
    network = fastvi.SigmoidBeliefNetwork(*parameters)
    *parameters, many = random_problem(size.thousand_data)
    smaller = fastvi.SigmoidBeliefNetwork(*parameters)
    machine = fastvi.BoltzmannMachine(*random_machine(size.machines[-1]))
    restricted = fastvi.RestrictedBoltzmannMachine(*restricted_machine(size.restricted))
    *layers, prior_logits, x = random_decoder(size.decoder, size.hidden, "tanh")
    decoder = fastvi.NeuralDecoder([layers[:2], layers[2:]], "tanh", fastvi.Bernoulli(prior_logits))
    answer, z = fastvi.log_marginal, fastvi.log_partition
    means, gradient = fastvi.exact_posterior, fastvi.log_marginal_gradient
    return [
        _Question("log p(x)", network, len(few), "log_marginal", lambda: answer(network, few)),
        _Question("means", smaller, len(many), "exact_posterior", lambda: means(smaller, many)),
        _Question("gradient", smaller, len(many), "log_marginal_gradient", lambda: gradient(smaller, many)),
        _Question("log Z", machine, 1, "log_partition", lambda: z(machine)),
        _Question("log Z restricted", restricted, 1, "log_partition", lambda: z(restricted)),
        _Question("decoder", decoder, len(x), "log_marginal", lambda: answer(decoder, x)),
    ]


def _median_seconds(call: Callable[[], Any], rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def test_plan(record: Any, size: Size) -> None:
    """All plans together; the ratio of each is in the note."""
    questions = _questions(size)
    record.describe(f"plans of {len(questions)} questions of this table", "fastvi", 1)
    rounds = min(size.rounds, 3)
    predicted = record.run(lambda: [question.predicted_seconds() for question in questions], rounds)
    ratios = {
        question.title: seconds / _median_seconds(question.ask, rounds)
        for question, seconds in zip(questions, predicted, strict=True)
    }
    said = ", ".join(f"{title} {ratio:.2g}" for title, ratio in ratios.items())
    record.info.update(ratios=ratios, note=f"predicted over true seconds: {said}")
    if size.name == "full":  # a smoke run says nothing about time
        assert all(1.0 / _MOST <= ratio <= _MOST for ratio in ratios.values()), said
