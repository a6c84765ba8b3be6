"""Small models and data of a caller's own, as studies take them."""

from __future__ import annotations

import numpy as np

import fastvi
from fastvi.studies.common.subject import Subject, own_subject


def subject_of(model, x) -> Subject:
    return own_subject(model, np.asarray(x), "my.npy", {"model": "my model"})


def own_network(num_latents=3, num_pixels=5) -> Subject:
    generator = np.random.default_rng(5)
    model = fastvi.SigmoidBeliefNetwork(
        generator.normal(size=(num_pixels, num_latents)),
        generator.normal(size=num_pixels),
        generator.normal(size=num_latents),
    )
    return subject_of(model, model.sample(4, 1).x)


def own_sparse_coding() -> Subject:
    generator = np.random.default_rng(6)
    model = fastvi.BinarySparseCoding(generator.normal(size=(4, 3)), np.zeros(4), 0.6, [0.5, -0.5, 0.0])
    return subject_of(model, model.sample(3, 1).x)


def own_restricted_machine() -> Subject:
    generator = np.random.default_rng(7)
    model = fastvi.RestrictedBoltzmannMachine(generator.normal(size=(4, 3)), np.zeros(4), np.zeros(3))
    return subject_of(model, [[0, 1, 1, 0], [1, 1, 0, 0]])
