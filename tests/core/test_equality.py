"""Models and distributions are equal where their arrays are."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import fastvi
from fastvi.core.frozen import Frozen

W, B, C = [[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]], [0.1, 0.2, 0.3], [0.0, -0.5]
LAYERS = [([[1.0, 2.0], [0.5, 0.0], [0.0, 1.0]], [0.0, 0.1, 0.2])]
BERNOULLI = fastvi.Bernoulli(C)

# how each is made, and how another of the same class is made that differs in one value or one word
MADE = {
    "network": (lambda c=-0.5: fastvi.SigmoidBeliefNetwork(W, B, [0.0, c]), {"c": -0.25}),
    "deep": (
        lambda c=-0.5: fastvi.SigmoidBeliefNetwork(
            W, B, prior=fastvi.SigmoidBeliefNetwork([[1.0], [2.0]], C, [c])
        ),
        {"c": 0.5},
    ),
    "sparse coding": (lambda s=0.5: fastvi.BinarySparseCoding(W, B, s, C), {"s": 0.25}),
    "machine": (
        lambda c=1.0: fastvi.BoltzmannMachine([[0.0, c], [c, 0.0]], [0.0, -1.0]), {"c": -math.inf},
    ),
    "restricted": (lambda c=0.0: fastvi.RestrictedBoltzmannMachine(W, B, [c, -0.5]), {"c": 1e-300}),
    "linear": (lambda s=0.5: fastvi.LinearGaussian(W, B, s), {"s": 1.0}),
    "decoder": (lambda a="relu": fastvi.NeuralDecoder(LAYERS, a, BERNOULLI), {"a": "tanh"}),
    "table": (lambda u=False: fastvi.JointTable([[0.5, 0.5]], unnormalized=u), {"u": True}),
    "bernoulli": (lambda c=1.0: fastvi.Bernoulli([c, math.inf]), {"c": math.nextafter(1.0, 2.0)}),
    "categorical": (lambda c=1.0: fastvi.Categorical([0.0, c]), {"c": -math.inf}),
    "normal": (lambda s=1.0: fastvi.Normal([0.0], [s]), {"s": 2.0}),
    "correlated": (lambda s=1.0: fastvi.MultivariateNormal([0.0], [[s]]), {"s": 2.0}),
    "uniform": (lambda d=3: fastvi.Uniform(d), {"d": 4}),
    "mixture": (lambda c=-0.5: fastvi.Mixture([fastvi.Bernoulli([0.0, c]), "uniform"], [1, 1]), {"c": 0.0}),
    "encoder": (lambda f="bernoulli": fastvi.Encoder(
        [(np.ones((4, 3)), np.zeros(4))], "relu", f), {"f": "normal"}),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_equal_by_value(name):
    make, change = MADE[name]
    one, same, other = make(), make(), make(**change)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert {one: 1}[same] == 1
    assert other not in {one}
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    assert hash(again) == hash(one)
    assert one.made_by({"seed": 3}) == same  # how it was made is no part of what it is


def test_all_classes_are_there():
    kinds = {type(make()).__name__ for make, _ in MADE.values()}
    own = {
        name
        for name in fastvi.__all__
        if isinstance(each := getattr(fastvi, name), type)
        and issubclass(each, Frozen)
        and not getattr(each, "__abstractmethods__", ())
    }
    assert own - {"LogJoint"} == kinds


def test_another_class_is_never_equal():
    class Mine(fastvi.Bernoulli):
        pass

    assert fastvi.Bernoulli([0.0]) != fastvi.Categorical([0.0])
    assert Mine([0.0]) != fastvi.Bernoulli([0.0])
    assert fastvi.Bernoulli([0.0]) != [0.0]
    assert fastvi.Bernoulli([0.0]) is not None


def test_other_shapes_are_never_equal():
    assert fastvi.Bernoulli([0.0, 1.0]) != fastvi.Bernoulli([[0.0, 1.0]])
    assert fastvi.Bernoulli([[0.0], [1.0]]) != fastvi.Bernoulli([[0.0, 1.0]])
    assert fastvi.Bernoulli(np.zeros((0, 2))) != fastvi.Bernoulli(np.zeros((0, 3)))


def test_zeros_of_both_signs_are_equal():
    assert fastvi.Bernoulli([0.0, 1.0]) == fastvi.Bernoulli([-0.0, 1.0])
    assert hash(fastvi.Bernoulli([0.0])) == hash(fastvi.Bernoulli([-0.0]))


def test_log_joints_are_equal_by_their_function():
    def make():
        return lambda x, z: x[:, :1] * z[:, 0]

    fn, twin = make(), make()
    assert fastvi.LogJoint(fn, 2, vectorized=True) == fastvi.LogJoint(fn, 2, vectorized=True)
    assert hash(fastvi.LogJoint(fn, 2, True)) == hash(fastvi.LogJoint(fn, 2, True))
    assert fastvi.LogJoint(fn, 2, True) != fastvi.LogJoint(twin, 2, True)
    assert fastvi.LogJoint(fn, 2, True) != fastvi.LogJoint(fn, 3, True)


def test_a_model_without_arrays_equals_itself():
    class Own(fastvi.LatentVariableModel):
        num_pixels = num_latents = 1

        def sample(self, num, seed):
            raise NotImplementedError

        def log_joint(self, x, z):
            raise NotImplementedError

    one, other = Own(), Own()
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


def test_draws_have_names():
    """Every model that can be sampled gives a named tuple (z, x)."""
    for name, (make, _) in MADE.items():
        model = make()
        if isinstance(model, fastvi.Model):
            drawn = model.sample(2, seed=0)
            assert drawn._fields == ("z", "x"), name
            assert len(drawn.z) == len(drawn.x) == 2, name
