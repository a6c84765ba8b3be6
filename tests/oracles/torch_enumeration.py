"""log p(x) and the ELBO by enumeration in PyTorch itself, which differentiates them by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
from optional import package

torch = package("torch")
EXACT = 40.0  # softplus(v) = v above: exp(-40) is below a rounding, the default 20 is not


def states(num: int) -> Any:
    """All bit vectors (2^num, num)."""
    return ((torch.arange(2**num)[:, None] >> torch.arange(num)) & 1).double()


def bernoulli(bits: Any, logits: Any) -> Any:
    return (bits * logits - torch.logaddexp(logits, torch.zeros_like(logits))).sum(-1)


def normal(x: Any, mean: Any, std: Any) -> Any:
    return (-0.5 * ((x - mean) / std) ** 2 - torch.log(std) - 0.5 * np.log(2 * np.pi)).sum(-1)


def network_joint(p: dict[str, Any], x: Any, z: Any) -> Any:
    """(N, S)."""
    eta = z @ p["weights"].T + p["bias"]
    return bernoulli(x[:, None], eta[None]) + bernoulli(z, p["prior_logits"])


def coding_joint(p: dict[str, Any], x: Any, z: Any) -> Any:
    eta = z @ p["weights"].T + p["bias"]
    return normal(x[:, None], eta[None], p["noise_std"]) + bernoulli(z, p["prior_logits"])


def _decoded(p: dict[str, Any], z: Any) -> Any:
    hidden = torch.tanh(z @ p["layer_0_weight"].T + p["layer_0_bias"])
    return hidden @ p["layer_1_weight"].T + p["layer_1_bias"]


def decoder_joint(p: dict[str, Any], x: Any, z: Any) -> Any:
    return bernoulli(x[:, None], _decoded(p, z)[None]) + bernoulli(z, p["prior_logits"])


def real_decoder_joint(p: dict[str, Any], x: Any, z: Any) -> Any:
    return normal(x[:, None], _decoded(p, z)[None], p["noise_std"]) + bernoulli(z, p["prior_logits"])


def deep_joint(p: dict[str, Any], x: Any, z: Any) -> Any:
    prior = {name.removeprefix("prior_"): value for name, value in p.items() if name.startswith("prior_")}
    eta = z @ p["weights"].T + p["bias"]
    return bernoulli(x[:, None], eta[None]) + enumerated(network_joint, prior, z, 2)


def enumerated(joint: Any, p: dict[str, Any], x: Any, num_latents: int) -> Any:
    return torch.logsumexp(joint(p, x, states(num_latents)), dim=1)


def restricted_machine(p: dict[str, Any], v: Any) -> Any:
    def free(bits: Any) -> Any:
        return bits @ p["visible_bias"] + torch.nn.functional.softplus(
            bits @ p["weights"] + p["hidden_bias"], threshold=EXACT
        ).sum(-1)

    return free(v) - torch.logsumexp(free(states(len(p["visible_bias"]))), 0)


def machine(p: dict[str, Any], z: Any) -> Any:
    def energy(bits: Any) -> Any:
        return 0.5 * ((bits @ p["couplings"]) * bits).sum(-1) + bits @ p["bias"]

    return energy(z) - torch.logsumexp(energy(states(len(p["bias"]))), 0)


def linear_gaussian(p: dict[str, Any], x: Any) -> Any:
    covariance = p["weights"] @ p["weights"].T + p["noise_std"] ** 2 * torch.eye(len(p["bias"])).double()
    return torch.distributions.MultivariateNormal(p["bias"], covariance).log_prob(x)


def elbo(joint: Any, p: dict[str, Any], x: Any, logits: Any) -> Any:
    z = states(logits.shape[1])
    log_q = bernoulli(z[None], logits[:, None])
    return (log_q.exp() * (joint(p, x, z) - log_q)).sum(1)
