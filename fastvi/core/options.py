"""Words that options of public functions take: types for annotations, tuples for checks."""

from __future__ import annotations

from typing import Literal, get_args

Device = Literal["cpu", "cuda", "auto"]
DType = Literal["float64", "float32"]

# models, encoders and proposals
Activation = Literal[
    "relu", "tanh", "sigmoid", "softplus", "leaky_relu", "elu", "gelu", "silu", "identity"
]  # fmt: skip
Family = Literal["bernoulli", "normal"]
Likelihood = Literal["bernoulli", "gaussian"]
Proposal = Literal["uniform", "prior"]

# public functions
Decomposition = Literal["reconstruction", "joint", "log_ratio"]
Method = Literal["auto", "enumeration", "independent_set", "elimination"]
Question = Literal[
    "log_marginal", "log_partition", "exact_posterior", "log_marginal_gradient", "log_marginal_bounds", "fit"
]
ModelObjective = Literal["exact", "em", "elbo", "importance_weighted", "wake_sleep", "reweighted_wake_sleep"]
PosteriorObjective = Literal["reverse_kl", "forward_kl", "importance_weighted"]
Score = Literal["exact", "bound"]

DEVICES: tuple[Device, ...] = get_args(Device)
DTYPES: tuple[DType, ...] = get_args(DType)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
FAMILIES: tuple[Family, ...] = get_args(Family)
LIKELIHOODS: tuple[Likelihood, ...] = get_args(Likelihood)
PROPOSALS: tuple[Proposal, ...] = get_args(Proposal)
DECOMPOSITIONS: tuple[Decomposition, ...] = get_args(Decomposition)
METHODS: tuple[Method, ...] = get_args(Method)
QUESTIONS: tuple[Question, ...] = get_args(Question)
MODEL_OBJECTIVES: tuple[ModelObjective, ...] = get_args(ModelObjective)
POSTERIOR_OBJECTIVES: tuple[PosteriorObjective, ...] = get_args(PosteriorObjective)
SCORES: tuple[Score, ...] = get_args(Score)
