"""Names of the questions that models may answer, in the order in which they are shown."""

from __future__ import annotations

LOG_MARGINAL = "log_marginal"
OBSERVED = "log_marginal(observed=...)"
LOG_MARGINAL_GRADIENT = "log_marginal_gradient"
LOG_PARTITION = "log_partition"
EXACT_POSTERIOR = "exact_posterior"
PLAN = "plan"
ESTIMATE = "estimate_log_marginal"
ANNEALED = "annealed_importance_sampling"
BIDIRECTIONAL = "bidirectional_monte_carlo"
ELBO = "elbo"
SAMPLED_ELBO = "elbo(num_samples=...)"
KL_TO_POSTERIOR = "kl_to_posterior"
KL_FROM_POSTERIOR = "kl_from_posterior"
CHI_SQUARE_BOUND = "chi_square_bound"
UPPER_BOUND = "upper_bound"
LOG_MARGINAL_BOUNDS = "log_marginal_bounds"
FIT_POSTERIOR = "fit_posterior"
FIT_POSTERIOR_FORWARD = "fit_posterior(objective='forward_kl')"
FIT_POSTERIOR_SAMPLED = "fit_posterior(num_samples=...)"
FIT_ENCODER = "fit_encoder"
FIT_ENCODER_FORWARD = "fit_encoder(objective='forward_kl')"
FIT_ENCODER_SAMPLED = "fit_encoder(num_samples=...)"
FIT_MODEL = "fit_model"
FIT_MODEL_EM = "fit_model(objective='em')"
FIT_MODEL_ELBO = "fit_model(objective='elbo')"
FIT_MODEL_WEIGHTED = "fit_model(objective='importance_weighted')"
FIT_MODEL_WAKE_SLEEP = "fit_model(objective='wake_sleep')"
CUDA = "log_marginal(device='cuda')"

QUESTIONS = (
    LOG_MARGINAL, OBSERVED, LOG_MARGINAL_GRADIENT, LOG_PARTITION, EXACT_POSTERIOR, PLAN, ESTIMATE, ANNEALED,
    BIDIRECTIONAL, ELBO, SAMPLED_ELBO, KL_TO_POSTERIOR, KL_FROM_POSTERIOR, CHI_SQUARE_BOUND, UPPER_BOUND,
    FIT_POSTERIOR, FIT_POSTERIOR_FORWARD, FIT_POSTERIOR_SAMPLED, FIT_ENCODER, FIT_ENCODER_FORWARD,
    FIT_ENCODER_SAMPLED, FIT_MODEL, FIT_MODEL_EM, FIT_MODEL_ELBO, FIT_MODEL_WEIGHTED, FIT_MODEL_WAKE_SLEEP,
    CUDA,
)  # fmt: skip

# what many models share
ENUMERATED = frozenset({
    LOG_MARGINAL, LOG_MARGINAL_GRADIENT, EXACT_POSTERIOR, PLAN, ELBO, KL_TO_POSTERIOR, KL_FROM_POSTERIOR,
    CHI_SQUARE_BOUND, FIT_POSTERIOR_FORWARD, FIT_MODEL,
})  # fmt: skip
MISSING = frozenset({OBSERVED})
BY_SAMPLES = frozenset({ESTIMATE, ANNEALED, SAMPLED_ELBO})
UNNORMALISED = frozenset({LOG_PARTITION})
LEARNED = frozenset({
    BIDIRECTIONAL, FIT_POSTERIOR_SAMPLED, FIT_ENCODER_SAMPLED, FIT_ENCODER_FORWARD, FIT_MODEL_ELBO,
    FIT_MODEL_WEIGHTED, FIT_MODEL_WAKE_SLEEP,
})  # fmt: skip
EXACTLY_FITTED = frozenset({FIT_POSTERIOR, FIT_ENCODER})
ON_GPU = frozenset({CUDA})
