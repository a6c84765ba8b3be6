"""Networks of PyTorch as decoders and encoders: their outputs, log p(x) by enumeration, what is refused."""

# ruff: noqa: E501

from __future__ import annotations

import itertools
from collections import OrderedDict

import numpy as np
import pytest
from optional import package

import fastvi

pytestmark = pytest.mark.peers
torch = package("torch")
nn = torch.nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}
BITS = fastvi.Bernoulli(np.linspace(-1.0, 1.0, 6))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def sizes(*widths, kind=nn.Tanh):
    """Linear layers with an activation between any two, in float64."""
    layers = []
    for into, out in itertools.pairwise(widths):
        layers += [nn.Linear(into, out), kind()]
    return nn.Sequential(*layers[:-1]).double()


def trained(module):
    """Batch normalisation with statistics and weights of its own, in evaluation mode."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 2.0)
            if layer.affine:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    return module.eval()


def check_outputs(module, num_inputs):
    """Those of torch itself; a sum of some tens of terms, each rounded by 1e-16."""
    x = torch.randn(5, num_inputs, dtype=torch.float64)
    expected = module(x).detach().numpy()
    found = fastvi.Encoder.from_torch(module)(x.numpy()).logits
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


# ---- outputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_outputs_of_each_activation(name):
    module = sizes(6, 9, 8, 5, kind=ACTIVATIONS[name])
    assert fastvi.Encoder.from_torch(module).activation == name
    check_outputs(module, 6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_log_p_of_x_is_the_sum_over_all_states(name):
    module, x = sizes(6, 5, 4, kind=ACTIVATIONS[name]), np.random.default_rng(0).integers(0, 2, (3, 4))
    model = fastvi.NeuralDecoder.from_torch(module, BITS)
    z = torch.tensor([[(s >> i) & 1 for i in range(6)] for s in range(64)], dtype=torch.float64)
    prior, bits = torch.tensor(BITS.logits), torch.tensor(x, dtype=torch.float64)
    log_prior = torch.distributions.Bernoulli(logits=prior).log_prob(z).sum(1)
    each = torch.distributions.Bernoulli(logits=module(z)).log_prob(bits[:, None]).sum(2)
    expected = torch.logsumexp(log_prior + each, 1).detach().numpy()
    np.testing.assert_allclose(fastvi.log_marginal(model, x), expected, rtol=1e-12)


def test_batch_norm_is_folded_in_wherever_it_stands():
    module = nn.Sequential(
        nn.Flatten(),
        nn.BatchNorm1d(6),
        nn.Sequential(OrderedDict(a=nn.Linear(6, 8), b=nn.BatchNorm1d(8), c=nn.GELU(), d=nn.Dropout())),
        nn.BatchNorm1d(8),
        nn.BatchNorm1d(8),
        nn.Linear(8, 7, bias=False),
        nn.BatchNorm1d(7, affine=False),
        nn.GELU(),
        nn.Linear(7, 5),
        nn.BatchNorm1d(5),
        nn.Identity(),
    ).double()
    check_outputs(trained(module), 6)


def test_a_linear_layer_and_a_sequential_of_ones_own():
    class Decoder(nn.Sequential):
        pass

    check_outputs(nn.Linear(3, 2).double(), 3)
    check_outputs(Decoder(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 4)).double(), 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_short_numbers_are_taken_as_they_are(dtype):
    module = sizes(6, 4, 3).to(dtype)
    weight, bias = fastvi.NeuralDecoder.from_torch(module, BITS).layers[0]
    assert weight.dtype == bias.dtype == np.float64
    np.testing.assert_array_equal(weight, module[0].weight.detach().double().numpy())
    np.testing.assert_array_equal(bias, module[0].bias.detach().double().numpy())


def test_what_is_taken_is_a_copy():
    module = sizes(6, 4, 3)
    model = fastvi.NeuralDecoder.from_torch(module, BITS)
    before = model.layers[0][0].copy()
    with torch.no_grad():
        module[0].weight.zero_()
    np.testing.assert_array_equal(model.layers[0][0], before)
    assert module[0].weight.requires_grad


def test_a_state_dict_is_its_module():
    module = nn.Sequential(nn.Linear(6, 4, bias=False), nn.SiLU(), nn.Sequential(nn.Linear(4, 3))).double()
    expected = fastvi.NeuralDecoder.from_torch(module, BITS, "gaussian", 0.5)
    found = fastvi.NeuralDecoder.from_torch(module.state_dict(), BITS, "gaussian", 0.5, activation="silu")
    assert (found.activation, found.noise_std, found.likelihood) == ("silu", 0.5, "gaussian")
    for mine, other in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(mine[0], other[0])
        np.testing.assert_array_equal(mine[1], other[1])
    alone = fastvi.Encoder.from_torch(nn.Linear(3, 2).state_dict(), activation="relu")
    assert (alone.num_pixels, alone.num_latents) == (3, 2)


def test_a_normal_encoder_has_means_first_and_log_standard_deviations_last():
    """Two heads as one layer; one of them gives log variances, and is halved."""
    body, mean, log_var = nn.Linear(5, 4).double(), nn.Linear(4, 2).double(), nn.Linear(4, 2).double()
    head = nn.Linear(4, 4).double()
    with torch.no_grad():
        head.weight.copy_(torch.cat([mean.weight, 0.5 * log_var.weight]))
        head.bias.copy_(torch.cat([mean.bias, 0.5 * log_var.bias]))
    x = torch.randn(3, 5, dtype=torch.float64)
    q = fastvi.Encoder.from_torch(nn.Sequential(body, nn.ReLU(), head), "normal")(x.numpy())
    hidden = torch.relu(body(x))
    np.testing.assert_allclose(q.mean, mean(hidden).detach(), rtol=1e-12)
    np.testing.assert_allclose(q.std, torch.exp(0.5 * log_var(hidden)).detach(), rtol=1e-12)


# ---- what is refused -------------------------------------------------------------------------------------


class Own(nn.Module):
    """A module with a forward of its own."""


class Backwards(nn.Sequential):
    """A Sequential that is none."""

    def forward(self, x):
        for layer in reversed(self):
            x = layer(x)
        return x


class Linear(nn.Linear):
    """A layer that may do anything."""


def hooked():
    module = sizes(6, 4, 3)
    module[0].register_forward_hook(lambda layer, x, y: 2 * y)
    return module


def chain(*layers):
    """Layers with a Linear before and after them."""
    return nn.Sequential(nn.Linear(6, 4), *layers, nn.Linear(4, 3)).eval()


STATE = sizes(6, 4, 3).state_dict()
# fmt: off
REFUSED = [
    ("no layers", lambda: nn.Sequential(), ValueError, r"^module must hold at least one Linear layer, got none$"),
    ("an array", lambda: np.ones((3, 2)), TypeError, r"^module must be an nn\.Sequential, an nn\.Linear or a state dict of Linear layers, got an array"),
    ("a module of one's own", Own, TypeError, r"^module must be an nn\.Sequential.* got Own\(\) \(Own\)$"),
    ("a forward of one's own", lambda: Backwards(nn.Linear(6, 3)), TypeError, r"^module must be an nn\.Sequential.* got Backwards"),
    ("a convolution", lambda: chain(nn.ReLU(), nn.Conv2d(1, 1, 3)), TypeError, r"^module\[2\] must be a Linear, .* ReLU, .* got a Conv2d$"),
    ("a nested unknown", lambda: chain(nn.Sequential(nn.Tanh(), nn.LayerNorm(4))), TypeError, r"^module\[1\]\[1\] must be .* got a LayerNorm$"),
    ("an Unflatten", lambda: nn.Sequential(nn.Linear(6, 4), nn.Unflatten(1, (2, 2))), TypeError, r"^module\[1\] must be .* got an Unflatten$"),
    ("a late Flatten", lambda: chain(nn.Flatten()), ValueError, r"^module\[1\] must be .* got a Flatten, which may only be first$"),
    ("another class of that name", lambda: nn.Sequential(Linear(6, 3)), TypeError, r"^module\[0\] must be .* got a .*\.Linear$"),
    ("hooks", hooked, ValueError, r"^module\[0\] must have no forward hooks"),
    ("a slope of 0.2", lambda: chain(nn.LeakyReLU(0.2)), ValueError, r"^module\[1\] must have negative_slope=0.01, got a LeakyReLU with 0.2$"),
    ("an alpha of 2", lambda: chain(nn.ELU(2.0)), ValueError, r"^module\[1\] must have alpha=1.0, got an ELU with 2.0$"),
    ("another gelu", lambda: chain(nn.GELU("tanh")), ValueError, r"^module\[1\] must have approximate='none', got a GELU with 'tanh'$"),
    ("a beta of 2", lambda: chain(nn.Softplus(2.0)), ValueError, r"^module\[1\] must have beta=1.0, got a Softplus with 2.0$"),
    ("a sigmoid at the end", lambda: nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()), ValueError, r"^module\[1\] must be left out, since the last Linear layer gives logits, got a Sigmoid after it$"),
    ("an activation first", lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 3)), ValueError, r"^module\[0\] must follow a Linear layer, got a ReLU before all of them$"),
    ("two activations", lambda: chain(nn.ReLU(), nn.Tanh()), ValueError, r"^module\[2\] must follow a Linear layer, got a Tanh after another activation$"),
    ("two kinds", lambda: chain(nn.ReLU(), nn.Linear(4, 4), nn.Tanh()), ValueError, r"^module must have one kind of activation .* got 'relu' at module\[1\] and 'tanh' at module\[3\]$"),
    ("none and one", lambda: chain(nn.Linear(4, 4), nn.Tanh()), ValueError, r"^module must have one kind .* got 'identity' at module\[1\] and 'tanh' at module\[2\]$"),
    ("training mode", lambda: chain(nn.BatchNorm1d(4), nn.ReLU()).train(), ValueError, r"^module\[1\] must be in evaluation mode, .*: call \.eval\(\) of the module first$"),
    ("no statistics", lambda: chain(nn.BatchNorm1d(4, track_running_stats=False)), ValueError, r"^module\[1\] must have running statistics, got .* track_running_stats=False"),
    ("a norm of another width", lambda: chain(nn.BatchNorm1d(5)), ValueError, r"^module\[1\] must take as many numbers as come in, got 5 for 4$"),
    ("a norm that does not fit the next", lambda: chain(nn.ReLU(), nn.BatchNorm1d(5)), ValueError, r"^module\[3\] must take as many numbers as come in, got 4 for 5$"),
    ("layers that do not fit", lambda: chain(nn.Linear(5, 4)), ValueError, r"^layers\[1\]\[0\] must have shape \(any, 4\), got shape \(4, 5\)$"),
    ("numbers nowhere", lambda: nn.Linear(6, 3, device="meta"), TypeError, r"^module\.weight must hold real floating-point numbers, got torch\.float32 on device meta$"),
    ("complex", lambda: nn.Linear(6, 3, dtype=torch.complex64), TypeError, r"^module\.weight must hold real .* got torch\.complex64"),
    ("too many inputs", lambda: nn.Linear(5, 3), ValueError, r"^prior must have the 5 latents that the module takes in, got 6$"),
    ("no activation", lambda: STATE, TypeError, r"^activation must be given for a state dict, .* got None$"),
]
STATES = [
    ("an empty state dict", {}, r"^module must hold at least one Linear layer, got an empty state dict$"),
    ("batch norm", nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).state_dict(), r"^module\['1\.weight'\] must be the weight \(out, in\) of a Linear layer or the bias that follows it, got "),
    ("a bias first", dict(reversed(STATE.items())), r"^module\['2\.bias'\] must be the weight"),
]
# fmt: on


@pytest.mark.parametrize(
    ("make", "exception", "message"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_refused(make, exception, message):
    with pytest.raises(exception, match=message) as caught:
        fastvi.NeuralDecoder.from_torch(make(), BITS)
    assert type(caught.value) is exception
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("state", "message"), [c[1:] for c in STATES], ids=[c[0] for c in STATES])
def test_state_dicts_that_are_refused(state, message):
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.NeuralDecoder.from_torch(state, BITS, activation="relu")
    assert "\n" not in str(caught.value)


def test_what_the_last_layer_gives_is_said():
    module = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
    with pytest.raises(ValueError, match=r"gives means, got a Tanh after it$"):
        fastvi.NeuralDecoder.from_torch(module, BITS, "gaussian", 0.5)
    with pytest.raises(ValueError, match=r"gives means and logarithms of standard deviations, got a Tanh"):
        fastvi.Encoder.from_torch(module, "normal")
    with pytest.raises(TypeError, match=r"^activation must be None for a module, .* got 'relu' \(str\)$"):
        fastvi.NeuralDecoder.from_torch(sizes(6, 4, 3), BITS, activation="relu")
