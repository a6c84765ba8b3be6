"""Models: log joints against the definition, draws against the exact probabilities, files that come back."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import zipfile

import naive
import numpy as np
import pytest
import strategies
from cases import assert_same, network
from hypothesis import given
from tolerances import assert_frequencies

import fastvi
from fastvi.models import sigmoid_belief_network

EYES = [
    [0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00],
    [0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06],
    [0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06],
]


MODELS = {
    "network": network(5, 3),
    "network without pixels": fastvi.SigmoidBeliefNetwork(np.zeros((0, 2)), [], [1e3, -1e3]),
    "table": fastvi.JointTable([[0.25, 0.25], [0.5, 0.0]]),
    "eyes": fastvi.JointTable(EYES, unnormalized=True),
    "bernoulli": fastvi.Bernoulli([[0.5, -np.inf], [np.inf, 1e3]]),
    "bernoulli for all": fastvi.Bernoulli([0.1, 0.2, 0.3]),
    "uniform": fastvi.Uniform(7),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


# ---- log joint -------------------------------------------------------------------------------------------


def rounding_of_logits(model):
    """Bound of |computed - exact| of log p(x, z): each rounding in a logit moves it by 2^-53 of its reach."""
    reach = np.abs(model.weights).sum(axis=1) + np.abs(model.bias)
    terms = reach.sum() + np.abs(model.prior_logits).sum() + model.num_pixels + model.num_latents
    return 2**-53 * (model.num_latents + model.num_pixels + 6) * terms


@given(strategies.networks_with_data())
def test_log_joint_of_a_network_is_its_definition(case):
    model, x = case
    z = np.array(naive.states(model.num_latents))
    expected = [
        [naive.sbn_log_joint(model.weights, model.bias, model.prior_logits, a, b) for b in z] for a in x
    ]
    got = model.log_joint(x[:, None], z[None])
    assert got.shape == (len(x), len(z))
    assert got.dtype == np.float64
    np.testing.assert_allclose(
        got, np.reshape(expected, got.shape), rtol=1e-14, atol=rounding_of_logits(model)
    )


def test_a_saturated_pixel_keeps_its_relative_accuracy():
    """x eta - softplus(eta) would give 0 here: the true value is -exp(-40) and the like."""
    model = fastvi.SigmoidBeliefNetwork([[40.0], [-700.0]], [0.0, 0.0], [0.0])
    got = model.log_joint([1, 0], [1]) - 0.0
    alone = fastvi.SigmoidBeliefNetwork([[-700.0]], [0.0], [1000.0])
    assert got == pytest.approx(-math.log(2) - math.exp(-40), rel=1e-15)
    assert float(alone.log_joint([0], [1])) == pytest.approx(-math.exp(-700), rel=1e-12)


@pytest.mark.parametrize(
    ("x", "z", "expected"), [(1, 1, 0.0), (0, 1, -1000.0), (1, 0, -2000.0), (0, 0, -1000.0)]
)
def test_logits_of_a_thousand(x, z, expected):
    model = fastvi.SigmoidBeliefNetwork([[2000.0]], [-1000.0], [1000.0])
    assert float(model.log_joint([x], [z])) == expected


def test_leading_axes_broadcast():
    model = network(5, 3)
    x, z = np.array([[0, 1, 0, 1, 1], [1, 1, 0, 0, 0]]), np.array(naive.states(3))
    pairs = model.log_joint(x[:, None], z[None])
    assert model.log_joint(x[1], z[5]).shape == ()
    for n, k in np.ndindex(2, 8):
        assert model.log_joint(x[n], z[k]) == pairs[n, k]
    np.testing.assert_array_equal(model.log_joint(x, z[3]), pairs[:, 3])
    np.testing.assert_array_equal(model.log_joint(x[0], z), pairs[0])


def test_dividing_the_work_changes_nothing(monkeypatch):
    model = network(5, 3)
    rng = np.random.default_rng(1)
    x, z = rng.integers(0, 2, (4, 1, 6, 5)), rng.integers(0, 2, (7, 1, 3))
    whole = model.log_joint(x, z)
    monkeypatch.setattr(sigmoid_belief_network, "BLOCK", 12)
    divided = model.log_joint(x, z)
    assert whole.shape == (4, 7, 6)
    np.testing.assert_array_equal(divided, whole)


def test_probabilities_of_all_pairs_sum_to_one():
    model = network(4, 3)
    x, z = np.array(naive.states(4)), np.array(naive.states(3))
    assert np.exp(model.log_joint(x[:, None], z[None])).sum() == pytest.approx(1, rel=1e-14)


def test_no_pixels_leave_the_prior():
    model = fastvi.SigmoidBeliefNetwork(np.zeros((0, 2)), [], [0.3, -2.0])
    z = np.array(naive.states(2))
    np.testing.assert_array_equal(model.log_joint(np.zeros((4, 0)), z), model.prior.log_prob(z))


@given(strategies.joint_tables())
def test_log_joint_of_a_table_is_the_log_of_its_entry(table):
    x, z = np.arange(table.num_x)[:, None], np.arange(table.num_z)
    got = table.log_joint(x, z)
    expected = [[naive.log(entry) for entry in row] for row in table.probabilities.tolist()]
    np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_eye_colours_are_taken_as_they_are_printed():
    table = fastvi.JointTable(EYES, unnormalized=True)
    np.testing.assert_array_equal(table.probabilities, EYES)
    assert table.total == 0.99
    rows = [math.exp(naive.joint_table_log_marginal(EYES, x)) for x in range(3)]
    np.testing.assert_allclose(table.probabilities.sum(axis=1), rows, rtol=1e-15)
    np.testing.assert_allclose(rows, [0.19, 0.37, 0.43], rtol=1e-15)


@pytest.mark.parametrize(("total", "accepted"), [(1 + 0.9e-9, True), (1 - 0.9e-9, True), (1 + 1.1e-9, False)])
def test_the_total_of_a_table_has_a_tolerance(total, accepted):
    if accepted:
        assert fastvi.JointTable([[total / 2, total / 2]]).total == pytest.approx(total, abs=1e-15)
    else:
        with pytest.raises(ValueError, match="unnormalized=True"):
            fastvi.JointTable([[total / 2, total / 2]])


# ---- sampling --------------------------------------------------------------------------------------------


def test_draws_of_a_network_follow_the_joint_distribution():
    model, num = network(2, 2), 40_000
    z, x = model.sample(num, seed=3)
    states = np.array(naive.states(2))
    expected = np.exp(model.log_joint(states[:, None], states[None]))
    counts = np.zeros((4, 4))
    np.add.at(counts, (x @ [2, 1], z @ [2, 1]), 1)
    assert_frequencies(counts, expected, num)


def test_draws_of_a_table_are_in_proportion_to_its_entries():
    table, num = fastvi.JointTable(EYES, unnormalized=True), 40_000
    z, x = table.sample(num, seed=3)
    counts = np.zeros((3, 8))
    np.add.at(counts, (x, z), 1)
    assert counts[0, 7] == 0
    assert_frequencies(counts, table.probabilities / table.total, num)


def test_draws_of_a_tiny_table_stay_inside_it():
    z, x = fastvi.JointTable([[0.0, 5e-324], [0.0, 0.0]], unnormalized=True).sample(1000, seed=0)
    assert set(zip(x.tolist(), z.tolist(), strict=True)) == {(0, 1)}


@pytest.mark.parametrize("model", [MODELS["network"], MODELS["eyes"]], ids=["network", "table"])
def test_a_sample_is_a_pure_function_of_the_seed(model):
    first, again, other = model.sample(50, 2**64 - 1), model.sample(50, 2**64 - 1), model.sample(50, 0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_blocks_do_not_show_in_a_sample(monkeypatch):
    model = network(5, 3)
    whole = model.sample(100, 7)
    monkeypatch.setattr(sigmoid_belief_network, "BLOCK", 35)
    for a, b in zip(whole, model.sample(100, 7), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shapes_and_types_of_samples():
    z, x = network(5, 3).sample(11, 0)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((11, 3), np.uint8, (11, 5), np.uint8)
    z, x = network(5, 3).sample(0, 0)
    assert (z.shape, x.shape) == ((0, 3), (0, 5))
    z, x = MODELS["eyes"].sample(11, 0)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((11,), np.int64, (11,), np.int64)


def test_saturated_units_are_drawn_without_exception():
    model = fastvi.SigmoidBeliefNetwork([[2000.0]], [-1000.0], [1000.0])
    z, x = model.sample(1000, 0)
    assert z.all()
    assert x.all()


# ---- immutability ----------------------------------------------------------------------------------------


@each_model
def test_nothing_can_be_changed(model):
    for name, array in model.arrays().items():
        with pytest.raises(AttributeError, match="immutable"):
            setattr(model, name, array)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(model, name)
        stored = getattr(model, name)
        if isinstance(stored, np.ndarray):
            assert stored.flags.c_contiguous
            assert stored.dtype == np.float64
            with pytest.raises(ValueError, match="read-only"):
                stored[...] = 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_was_passed_is_copied(order):
    weights = np.zeros((2, 3), order=order)
    model = fastvi.SigmoidBeliefNetwork(weights, np.zeros(2), np.zeros(3))
    weights[:] = 1
    assert not model.weights.any()


@each_model
def test_pickling_and_copying_keep_the_arrays_read_only(model):
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(twin, model)
        assert not any(v.flags.writeable for v in vars(twin).values() if isinstance(v, np.ndarray))


# ---- files -----------------------------------------------------------------------------------------------


@each_model
@pytest.mark.parametrize("name", ["model", "model.npz", "with space.bin"])
def test_a_saved_model_comes_back_the_same(model, name, tmp_path):
    path = tmp_path / name
    model.save(path)
    assert os.listdir(tmp_path) == [name]
    assert_same(fastvi.load(path), model)
    assert_same(fastvi.load(str(path)), model)


def test_saving_replaces_the_old_file(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    MODELS["table"].save(path)
    assert_same(fastvi.load(path), MODELS["table"])


def test_a_save_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "model"
    MODELS["table"].save(path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space left"):
        MODELS["network"].save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "part"
    MODELS["network"].save(whole)
    content = whole.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="path must name"):
            fastvi.load(path)


def test_a_damaged_array_is_refused(tmp_path):
    path = tmp_path / "model"
    MODELS["network"].save(path)
    content = bytearray(path.read_bytes())
    content[content.index(MODELS["network"].bias.tobytes()) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        fastvi.load(path)


def rewritten(path, **changes):
    """The arrays of the network's file, with some replaced, or left out where the change is None."""
    MODELS["network"].save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return path


WRONG_FILES = [
    ("newer format", {"fastvi_format_version": np.array(3)}, r"format 1 \.\.\. 2, got .* of format 3"),
    ("format is text", {"fastvi_format_version": np.array("1")}, r"of format 1"),
    ("unknown class", {"fastvi_class": np.array("Popen")}, "one of SigmoidBeliefNetwork, .* with 'Popen'"),
    ("no class", {"fastvi_class": None}, "written by save"),
    ("missing array", {"bias": None}, "whole SigmoidBeliefNetwork.*'bias'"),
    ("one array too many", {"extra": np.zeros(1)}, "whole SigmoidBeliefNetwork.*'extra'"),
    ("NaN in an array", {"bias": np.full(5, np.nan)}, "valid SigmoidBeliefNetwork.*bias must be finite"),
    ("pickled objects", {"bias": np.array([print] * 5)}, "damaged: .*allow_pickle=False"),
    (
        "table without its table",
        {"fastvi_class": np.array("JointTable")},
        "whole JointTable.*'probabilities'",
    ),
    ("uniform without its size", {"fastvi_class": np.array("Uniform")}, "whole Uniform"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [case[1:] for case in WRONG_FILES], ids=[c[0] for c in WRONG_FILES]
)
def test_wrong_files(changes, message, tmp_path):
    path = rewritten(tmp_path / "model", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)


def test_files_say_how_they_were_made(tmp_path):
    path = tmp_path / "model"
    MODELS["network"].save(path)
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(archive["fastvi_made"].item()) == {"fastvi": fastvi.__version__}
    assert fastvi.load(path).made == {"fastvi": fastvi.__version__}
    rewritten(path, fastvi_made=np.array('{"fastvi": "0.9", "seed": 3}'))
    loaded = fastvi.load(path)
    loaded.save(path)
    assert fastvi.load(path).made == {"fastvi": "0.9", "seed": 3}  # whoever saved it again
    loaded.made["seed"] = 4
    assert loaded.made["seed"] == 3
    for wrong in ("{", "3", ""):
        rewritten(path, fastvi_made=np.array(wrong))
        with pytest.raises(ValueError, match=r"path must name a file written by save.*is not JSON"):
            fastvi.load(path)


def test_a_file_of_format_1_is_still_read(tmp_path):
    path = rewritten(tmp_path / "model", fastvi_format_version=np.array(1), fastvi_made=None)
    assert_same(fastvi.load(path), MODELS["network"])
    assert fastvi.load(path).made == {}


def test_a_model_is_saved_where_it_can_be(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^path must name a file in a folder that exists, got"):
        MODELS["table"].save(tmp_path / "none" / "model")
    with pytest.raises(ValueError, match=r"^path must name a file, got"):
        MODELS["table"].save("a\0b")


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "file"
    np.save(path.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(ValueError, match=r"not an \.npz file"):
        fastvi.load(path.with_suffix(".npy"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(ValueError, match="written by save"):
        fastvi.load(path)
    with pytest.raises(FileNotFoundError):
        fastvi.load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match="got the directory"):
        MODELS["table"].save(tmp_path)


def test_a_subclass_that_load_would_not_know_is_not_saved(tmp_path):
    class Uniform(fastvi.Uniform):
        pass

    with pytest.raises(TypeError, match="model must be one of"):
        Uniform(2).save(tmp_path / "model")
    assert os.listdir(tmp_path) == []
