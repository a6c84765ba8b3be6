"""log Z of a restricted Boltzmann machine by annealed importance sampling, beside the exact sum."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastvi
from fastvi.fitting.starting_network import pixel_shares
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.studies.common.digits import split, whole
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Progress, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.weights.estimate import Estimate

_INITIAL_STD = 0.1  # of the weights
_LEARNING_RATE = 0.03  # 20 epochs: mean log p(x) of the 1,500 digits -19.7 nats; 0.01 gives less in 20
NAMES = (  # of Calibration.table, kept as they are
    "bias",
    "std",
    "rms_error",
    "relative_variance",
    "std_error",
    "error_ratio",
    "coverage",
    "ess",
)
COLUMNS = ("num_temperatures", "num_chains", "log_partition", "estimate", "low", "high", *NAMES)


def trained_machine(
    settings: Settings, progress: Progress, kept: Kept = NOTHING_KEPT
) -> RestrictedBoltzmannMachine:
    """Fitted to the training images by exact maximum likelihood: 2^d terms of log Z a step."""
    step = "fitting a restricted Boltzmann machine"
    x = split(settings).train
    share = pixel_shares(x)
    generator = np.random.default_rng([settings.seed, settings.ais_num_hidden])
    start = RestrictedBoltzmannMachine(
        _INITIAL_STD * generator.standard_normal((x.shape[1], settings.ais_num_hidden)),
        np.log(share / (1.0 - share)),
        np.zeros(settings.ais_num_hidden),
    )
    return whole(
        lambda: fastvi.fit_model(
            start,
            x,
            num_epochs=settings.ais_num_epochs,
            learning_rate=_LEARNING_RATE,
            seed=settings.seed,
            checkpoint=kept.checkpoint("fit_restricted_machine"),
            progress=lambda done, total: progress(step, done, total),
        )
    ).model


def annealed(
    machine: RestrictedBoltzmannMachine | BoltzmannMachine, settings: Settings, progress: Progress
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The table ``ais_log_partition`` and the table of seconds.

    estimate, low and high are of one run and its 95 % interval, with the seed of the settings; the other
    columns are of ``ais_num_repeats`` runs, against the exact log Z.
    """
    exact = fastvi.log_partition(machine)

    def estimate(num_temperatures: int, model: Any, x: None, seed: int) -> Estimate:
        return fastvi.annealed_importance_sampling(
            model, x, num_temperatures=num_temperatures, num_chains=settings.ais_num_chains, seed=seed
        )

    estimators = {str(num): partial(estimate, num) for num in settings.ais_num_temperatures}
    found = fastvi.calibrate(
        machine,
        proposals=estimators,
        num_repeats=settings.ais_num_repeats,
        seed=settings.seed,
        truth=[exact],
        progress=lambda done, total: progress("annealed importance sampling", done, total),
    )
    table, rows = found.table(), []
    for i, num in enumerate(settings.ais_num_temperatures):
        one = estimators[str(num)](machine, None, settings.seed)
        low, high = one.interval()
        ends = (float(one.log_marginal[0]), float(low[0]), float(high[0]))
        rows.append((num, settings.ais_num_chains, exact, *ends, *(table[name][i] for name in NAMES)))
    seconds = {"num_temperatures": list(settings.ais_num_temperatures), "seconds": table["seconds"]}
    return rows_to_table(COLUMNS, rows), seconds
