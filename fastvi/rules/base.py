"""Protocol by which the engine learns what it needs of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.registry import restored_rules
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import num_chunks
from fastvi.rules.kept import MOST_BYTES, kept

if TYPE_CHECKING:
    from fastvi.distributions.base import Distribution
    from fastvi.distributions.bernoulli import Bernoulli
    from fastvi.distributions.normal import Normal
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.expectation.sampled_joint import SampledJoint
    from fastvi.engine.importance.proposals import Ancestral
    from fastvi.engine.importance.targets import Target
    from fastvi.engine.mean_field.mean_field import MeanFieldFit
    from fastvi.engine.memory.form import FormMemory
    from fastvi.engine.posterior.state_moments import FirstPass
    from fastvi.engine.states.form import Form
    from fastvi.engine.subcubes.form import SubcubeForm

NO_DATA = np.empty((1, 0), np.uint8)  # what is seen of nothing

Gradient = dict[str, np.ndarray]


class NormalPosterior(NamedTuple):
    """p(z | x_n) that is normal.

    mean : (N, d)
    root : (d, d), lower triangular, the transposed root times the root is the inverse of the covariance
    """

    mean: np.ndarray
    root: np.ndarray


class EMoments(NamedTuple):
    """Sums that an E step finds.

    evidence : (N,), log p(x_n)
    mean : (N, d), E[z | x_n]
    spread : (d, d), sum_n Cov[z | x_n]
    """

    evidence: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


class Rules(ABC):
    """Answers to all that the engine asks about one model.

    A class of models has one subclass, in ``fastvi/rules/`` or registered by :func:`fastvi.register`. Public
    functions reach a model only through it. For a model of binary latents three things suffice:
    ``questions``, :meth:`form` and :meth:`memory`. Then log p(x), posteriors and bounds by enumeration work.
    Every other member has a default, which answers by enumeration or refuses in one line.

    ``observed`` is a boolean mask (D,): the pixels that were seen, the same for all data of a call. ``x``
    then holds those columns only, (N, observed pixels), as :meth:`check_data` made them. All logarithms are
    natural.

    Attributes
    ----------
    model
        The model itself.
    num_pixels, num_latents : int
        D and d, as the model has them.
    questions : frozenset of str
        Names of public functions that answer for this model; see :func:`fastvi.supported`.
    real_latents : bool
        Whether latents are real numbers rather than bits.
    pixel_bytes : int
        Bytes of a datum's pixel once checked: 1 for bits, 8 for real numbers.
    is_probability : bool
        Whether the sum over latents is a probability, at most 1.
    is_table : bool
        Whether the model is a table whose x are numbers, without pixels.
    closed_expectations : bool
        Whether E_q[log p(x, z)] of a factorised q takes no enumeration.
    data_optional : bool
        Whether ``x=None`` means that nothing was observed.
    whole_data : bool
        Whether a datum, whatever its shape, stands in the place of one pixel.
    reads_device_data : bool
        Whether data enter by t(x) and c(x) alone, which a GPU makes of data that lie there.
    samples_in_float32 : bool
        Whether :meth:`sampling_target`, and :meth:`sampled_joint` where there is one, take a ``dtype``: that
        of products over pixels.
    samples_open_subcubes : bool
        Whether :meth:`subcube_form` gives a ``TangentForm``.
    has_normal_posterior : bool
        Whether :meth:`normal_posterior` gives p(z | x).
    anneals_in_float32 : bool
        Whether annealed chains read ``Schedule.dtype``.
    constant : float
        Nats that every unnormalised log joint has beside what :meth:`form` says. Sums leave it out, so that
        log p(x) does not feel it; answers that are not normalised add it.

    Examples
    --------
    A length is a sum of 1, 2 and 4, each of them in it or not, and is measured with an error of 0.5. The form
    of sparse coding says so:

    >>> import fastvi, numpy
    >>> from fastvi.engine.memory.pairs import PairMemory
    >>> from fastvi.engine.states.pair_form import sparse_coding_form
    >>> class Length:
    ...     num_pixels, num_latents = 1, 3
    >>> class LengthRules(fastvi.Rules):
    ...     questions = frozenset({"log_marginal", "exact_posterior"})
    ...     pixel_bytes = 8
    ...     def check_data(self, x, observed, name="x"):
    ...         return numpy.asarray(x, dtype=float), None
    ...     def form(self, observed, dtype="float64"):
    ...         return sparse_coding_form(numpy.array([[1.0, 2.0, 4.0]]), numpy.zeros(1), 0.5, numpy.zeros(3))
    ...     def memory(self, observed, dtype="float64"):
    ...         return PairMemory.of(3, 1, 8)
    >>> fastvi.register(Length, LengthRules)
    >>> fastvi.exact_posterior(Length(), [[5.1], [3.2]]).mode
    array([[1, 0, 1],
           [1, 1, 0]], dtype=uint8)
    >>> fastvi.log_marginal(Length(), [[5.1]]).round(3)
    array([-2.068])
    >>> fastvi.supported(Length())
    ('log_marginal', 'exact_posterior')
    """

    model: Any
    subject: Any  # the object that was asked about; what ``model`` is, unless rules wrap another model
    num_pixels: int
    num_latents: int
    questions: frozenset[str] = frozenset()
    real_latents: bool = False
    pixel_bytes: int = 1
    is_probability: bool = False
    is_table: bool = False
    closed_expectations: bool = False
    data_optional: bool = False
    whole_data: bool = False
    reads_device_data: bool = False
    samples_in_float32: bool = False
    samples_open_subcubes: bool = False
    has_normal_posterior: bool = False
    anneals_in_float32: bool = False
    constant: float = 0.0

    def __init__(self, model: Any) -> None:
        self.model = self.subject = model
        if not self.is_table:
            self.num_pixels, self.num_latents = int(model.num_pixels), int(model.num_latents)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored_rules, (self.subject,)

    @property
    def deep_prior(self) -> Rules | None:
        """Rules of the prior where it is a model, summed out for each state."""
        return None

    @cached_property
    def everything(self) -> np.ndarray:
        """The mask (D,) of data that see all pixels; nobody writes to it."""
        return np.ones(self.num_pixels, bool)

    def by(self, method: str, question: str, top_k: int = 0) -> Rules:
        """Return the rules that answer a question by a ``method``, where a model's sums have several."""
        if method not in ("auto", "enumeration"):
            kind = validation.type_name(self.model)
            raise ValueError(f"method must be 'auto' or 'enumeration' for {kind}, got {method!r}")
        return self

    def ways_told(
        self, masks: Sequence[np.ndarray], with_log_z: bool, duration: Callable[[float], str]
    ) -> str:
        """Return one line about the ways to sum what these masks leave free; nothing where there is one.

        ``duration`` puts seconds into words.
        """
        return ""

    def sizes_told(self, observed: np.ndarray | None) -> str:
        """Return how large each way is, of a mask or (None) of log Z; nothing where there is one."""
        return ""

    # ---- data ------------------------------------------------------------------------------------------

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, np.ndarray | None]:
        """Return clean data (N, D) and the mask of what was observed, or None where all was.

        ``name`` is the argument that errors name.
        """
        return validation.observed_data(x, observed, self.num_pixels, name)

    def check_relaxed_data(
        self, x: Any, observed: Any, name: str = "x"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return :meth:`check_data`'s, or real numbers in [0, 1] where log p(x, z) is linear in pixels."""
        return self.check_data(x, observed, name)

    def free_latents(self, observed: np.ndarray) -> np.ndarray:
        """Return the indices of the latents that are summed over where these pixels are seen."""
        return np.arange(self.num_latents)

    def digest(self) -> tuple[Any, ...]:
        """Return what tells this model from any other, for a checkpoint."""
        return type(self.model).__name__, self.model.arrays()

    # ---- sums over states ------------------------------------------------------------------------------

    @abstractmethod
    def form(self, observed: np.ndarray, dtype: str = "float64") -> Form:
        """Return what the engine sums over the free latents: log p(x, z) = c(x) + <t(x), z> - A(z)."""

    def kept_form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        """Return :meth:`form`'s, which a small model makes once: see ``rules/kept.py``."""
        key = observed.tobytes(), dtype
        return kept(
            self, "form", key, lambda: self.form(observed, dtype), lambda: self.memory(observed, dtype).weight
        )

    @abstractmethod
    def memory(self, observed: np.ndarray, dtype: str = "float64") -> FormMemory:
        """Return the bytes that :meth:`form` takes, known before it is made.

        Sums of a prior that is a model are not counted here.
        """

    def is_closed(self, observed: np.ndarray) -> bool:
        """Tell whether :meth:`closed_form` gives log p(x), without an enumeration."""
        return False

    def has_closed_gradient(self, observed: np.ndarray) -> bool:
        """Tell whether :meth:`gradient` takes no enumeration."""
        return False

    def closed_form(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Return log p(x) (N,), up to log Z, where :meth:`is_closed`."""
        raise NotImplementedError

    def closed_bytes(self, num_data: int, observed: np.ndarray) -> int:
        """Return the peak memory of :meth:`closed_form`, its result included."""
        raise NotImplementedError

    def partition_form(self) -> Form | None:
        """Return what is summed for log Z; None of a model that is normalised."""
        return None

    def partition_memory(self) -> FormMemory | None:
        """Return the bytes that :meth:`partition_form` takes."""
        return None

    def sums(self, x: np.ndarray, observed: np.ndarray, run: Run, *, dtype: str = "float64") -> np.ndarray:
        """Return log p(x) (N,), up to log Z, of data whose states are summed."""
        return log_sums(self.kept_form(observed, dtype), x, run)

    def state_bits(self, observed: np.ndarray) -> int:
        """Return the logarithm to base 2, rounded up, of the states that are summed."""
        return int(self.free_latents(observed).size)

    def num_states(self, x: np.ndarray, observed: np.ndarray) -> int:
        """Return how many states :meth:`sums` goes through."""
        return num_chunks(len(x)) << self.state_bits(observed)

    def kept_partition_form(self) -> Any:
        """Return :meth:`partition_form`'s, made once as :meth:`kept_form`'s is."""

        def num_bytes() -> int:
            memory = self.partition_memory()
            return 0 if memory is None else memory.weight

        return kept(self, "partition", None, self.partition_form, num_bytes)

    @property
    def draw_bits(self) -> int:
        """Logarithm to base 2 of the states that :meth:`sample_partition` goes through."""
        return self.num_latents

    def sample_partition(self, num: int, seed: int) -> np.ndarray:
        """Draw states (num, d) of :meth:`partition_form` exactly."""
        from fastvi.engine.posterior.samples import sample_form

        form = self.kept_partition_form()
        assert form is not None
        return sample_form(form, num, seed)

    @cached_property
    def log_z(self) -> float:
        """Log Z in nats less :attr:`constant`, summed once; 0 of a model that is normalised."""
        form = self.kept_partition_form()
        return 0.0 if form is None else float(log_sums(form, NO_DATA, Run())[0])

    @cached_property
    def log_prior(self) -> LogPrior:
        """Normalised log p of states, for a model whose prior this one is."""
        return LogPrior(self)

    # ---- certified intervals ---------------------------------------------------------------------------

    def subcube_form(self, observed: np.ndarray) -> SubcubeForm:
        """Return what bounds log p(x), not normalised, from above where some latents are fixed."""
        raise TypeError(
            "model must be one whose log p(x) can be bounded by tangents, as a SigmoidBeliefNetwork with "
            f"prior_logits, got {self.model!r}"
        )

    def subcube_partition_form(self) -> SubcubeForm | None:
        """Return the same for log Z; None of a model that is normalised."""
        return None

    # ---- posteriors ------------------------------------------------------------------------------------

    def posterior_moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return means and standard deviations (N, d) and entropies (N,) of real latents, all pixels seen."""
        raise TypeError(f"model must have real latents whose posterior can be integrated, got {self.model!r}")

    def has_factorised_posterior(self, observed: np.ndarray) -> bool:
        """Tell whether :meth:`factorised_posterior` gives p(z | x)."""
        return False

    def factorised_posterior(self, x: np.ndarray) -> Bernoulli:
        """Return p(z | x), where it is a product over latents."""
        raise NotImplementedError

    def normal_posterior(self, x: np.ndarray, observed: np.ndarray) -> NormalPosterior:
        """Return p(z | x), where it is a normal distribution."""
        raise NotImplementedError

    def em_moments(self, x: np.ndarray) -> EMoments:
        """Return what an E step finds, all pixels seen, of a model with an exact M step."""
        raise TypeError(
            "model must be a BinarySparseCoding, a LinearGaussian or a JointTable, which have an exact M "
            f"step, for objective='em', got {self.model!r}"
        )

    # ---- sampling --------------------------------------------------------------------------------------

    def check_sampling_dtype(self, dtype: str) -> None:
        """Refuse a ``dtype`` in which sampled states are not weighed."""
        if dtype != "float64" and not self.samples_in_float32:
            raise ValueError(
                "dtype must be 'float64' where states of a model other than a SigmoidBeliefNetwork or a "
                f"RestrictedBoltzmannMachine are sampled, got {dtype!r} for {type(self.model).__name__}"
            )

    def sampling_target(self, observed: np.ndarray, num_states: int, *, with_prior: bool = True) -> Target:
        """Return log p(x, z) of sampled states, ``num_states`` in all; log p(x | z) where not ``with_prior``.

        Only models with a prior are asked for log p(x | z).
        """
        raise TypeError(f"model must be one whose latents can be sampled, got {self.model!r}")

    def kept_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True, dtype: str = "float64"
    ) -> Target:
        """Return :meth:`sampling_target`'s, whose tables a small model makes once."""
        options: dict[str, Any] = {"dtype": dtype} if self.samples_in_float32 else {}

        def make() -> Target:
            return self.sampling_target(observed, num_states, with_prior=with_prior, **options)

        def num_bytes() -> int:
            if self.real_latents:
                return MOST_BYTES + 1  # no tables that would be worth it
            d, rows = self.num_latents, 256 * -(-self.num_latents // 8)
            all_states = 8 << d if num_states >> d else 0
            tables = 8 * (int(observed.sum()) + 8) * rows
            return self.memory(observed).tables + tables + all_states

        return kept(self, "target", (observed.tobytes(), num_states, with_prior, dtype), make, num_bytes)

    def prior(self) -> Any:
        """Return p(z), a distribution or a model; None of a model that has none."""
        return None

    def prior_proposal(self) -> Distribution | Ancestral:
        """Return p(z) as a proposal to draw from."""
        raise ValueError(f"proposal 'prior' must belong to a model with a prior, got {self.model!r}")

    def initial(self) -> Bernoulli | Normal:
        """Return the factorised prior, from which annealed chains start."""
        return self.prior()  # type: ignore[no-any-return]

    def check_latents(  # noqa: B027 (nothing to refuse is a default)
        self, x: np.ndarray, chains: np.ndarray
    ) -> None:
        """Refuse states (N, M, d) of reversed chains that have no probability."""

    def annealed_log_weights(
        self, x: np.ndarray, initial: np.ndarray, schedule: Schedule, num_leapfrog: int
    ) -> np.ndarray:
        """Return log weights (N M,) of annealed chains on log p(x, z).

        ``initial`` holds the logits (N, d) that chains of bits start from; (2, N, d), means and standard
        deviations, of real latents.
        """
        raise TypeError(f"model must be one whose latents can be annealed, got {self.model!r}")

    def check_reversed(  # noqa: B027
        self, states: np.ndarray
    ) -> None:
        """Refuse states (M, units) of reversed chains on log Z that have no probability."""

    def annealed_log_z(self, schedule: Schedule) -> np.ndarray:
        """Return log weights (M,) of annealed chains on log Z."""
        raise TypeError(f"model must have a log Z, got {validation.shown(self.model)}")

    # ---- expectations under q --------------------------------------------------------------------------

    def expected_joint(self, x: np.ndarray, observed: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return E_q[log p(x, z)] (N,), up to log Z, for bits with ``logits`` (free,) or (N, free)."""
        from fastvi.engine.expectation.expected_joint import expected_joint

        return expected_joint(self.kept_form(observed), x, logits)

    def reconstruction(self, x: np.ndarray, observed: np.ndarray, q: Any) -> np.ndarray | None:
        """Return E_q[log p(x | z)] (N,) of a Bernoulli or normal q; None of a model without a prior."""
        return None

    def sampled_joint(self, x: np.ndarray, z: np.ndarray) -> SampledJoint:
        """Return log p(x_n, z_nk) of states ``z`` (N, K, d), and its gradients, all pixels seen."""
        raise TypeError(f"model must be one whose log joint has a gradient, got {self.model!r}")

    def mean_field(
        self, x: np.ndarray, starts: list[np.ndarray], max_sweeps: int, tolerance: float
    ) -> MeanFieldFit:
        """Return the best optimum that coordinate ascent of a factorised q finds from ``starts`` (N, d)."""
        raise NotImplementedError

    # ---- gradients -------------------------------------------------------------------------------------

    def zero_gradient(self) -> Gradient:
        """Return zeros in the shapes of the parameters that log p(x) is differentiated in."""
        raise TypeError(f"model must have parameters to be differentiated, got {self.model!r}")

    def learnable(self) -> Gradient:
        """Return zeros in the shapes of the parameters that a bound can be climbed in."""
        return self.zero_gradient()

    @property
    def pass_numbers(self) -> int:
        """Numbers of a datum that :meth:`first_pass` keeps."""
        return 0

    def first_pass(
        self, x: np.ndarray, observed: np.ndarray, run: Run
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return log p(x) (N,), up to log Z, and what :meth:`gradient` need not find again.

        The second array is (N, :attr:`pass_numbers`), without NaN in its first column. Rules that return it
        take it as the last argument of :meth:`gradient` and :meth:`pixel_gradient`. None of a model, a mask
        or logits whose gradient takes all passes over the states itself.
        """
        return None

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        """Return the gradient of sum_n data_weights_n log p(x_n), that of log Z not taken away."""
        raise NotImplementedError

    def pixel_gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Return data_weights_n times the gradient of log p(x_n) in the seen pixels, (N, observed pixels)."""
        raise TypeError(f"x must not need a gradient for {validation.type_name(self.model)}")

    def both_gradients(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> tuple[Gradient, np.ndarray]:  # fmt: skip
        """Return :meth:`gradient` and :meth:`pixel_gradient`, whose passes a model may share."""
        kept = () if first is None else (first,)
        pixels = self.pixel_gradient(x, data_weights, observed, run, *kept)  # refused before the other begins
        return self.gradient(x, data_weights, observed, run, *kept), pixels

    @cached_property
    def partition_pass(self) -> FirstPass | None:
        """First pass of log Z, which is its evidence, where :meth:`partition_gradient` takes it."""
        return None

    def partition_gradient(self, run: Run, first: FirstPass | None = None) -> Gradient:
        """Return the gradient of log Z, after :attr:`partition_pass`; nothing of a normalised model."""
        return {}

    def gradient_bytes(self, num_data: int, observed: np.ndarray) -> int:
        """Return the peak memory of :meth:`gradient` beside its passes over the states.

        By default means, these in the model's order, weighted, and sums over some pixels at a time.
        """
        from fastvi.engine.linalg.weighted_sums import weighted_sums_bytes

        blocks = weighted_sums_bytes(num_data, int(observed.sum()), self.num_latents)
        return 8 * 2 * num_data * self.num_latents + max(blocks, 8 * num_data * self.num_latents)

    def without_deep_prior(self) -> Rules:
        """Return the rules of this model under a factorised prior, for what depends on sizes alone."""
        return self

    def states_above(self) -> int:
        """Return the states that :meth:`gradient` goes through for a prior that is a model."""
        return 0


def log_marginal_of(
    rules: Rules, x: np.ndarray, observed: np.ndarray, run: Run, *, dtype: str = "float64"
) -> np.ndarray:
    """Return the log of the sum over the latents, up to log Z; ``x`` is (N, observed pixels)."""
    if rules.is_closed(observed):
        found = rules.closed_form(x, observed)
    else:
        found = rules.sums(x, observed, run, dtype=dtype)
    return log_probabilities(found) if rules.is_probability else found


def relaxed_bits(x: Any, observed: Any, num_pixels: int, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return data as bits where all are 0 or 1, else as float64 in [0, 1], and the mask."""
    data, mask = validation.observed_real_data(x, observed, num_pixels, name)
    validation.require(data, (data >= 0.0) & (data <= 1.0), f"{name} must lie in [0, 1]")
    bits = data.astype(np.uint8)
    return (bits if (bits == data).all() else data), mask


def log_probabilities(found: np.ndarray) -> np.ndarray:
    """Return logarithms of probabilities, which rounding may have left just above 0, as at most 0."""
    return np.minimum(found, 0.0)


def gradient_of(
    rules: Rules, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run
) -> Gradient:
    """Return the gradient of sum_n data_weights_n log p(x_n), that of log Z taken away."""
    total = rules.gradient(x, data_weights, observed, run)
    return without_partition(rules, total, float(data_weights.sum()), run)


def without_partition(
    rules: Rules, total: Gradient, weight: float, run: Run, first: FirstPass | None = None
) -> Gradient:
    """Return ``total`` less ``weight`` times the gradient of log Z, of a model that is not normalised."""
    kept = () if first is None else (first,)
    for name, value in rules.partition_gradient(run, *kept).items():
        total[name] = total[name] - weight * value
    return total


class LogPrior:
    """log p(z) of states (S, d) of the layer below a model, for which they are data.

    Its form is made and its log Z is summed when it is built, once for all states that it is asked about.
    """

    def __init__(self, rules: Rules) -> None:
        everything = np.ones(rules.num_pixels, bool)
        self._sum: Callable[[np.ndarray], np.ndarray]
        if rules.is_closed(everything):
            self._sum = lambda z: rules.closed_form(z, everything)
        else:
            form = rules.form(everything)
            self._sum = lambda z: log_sums(form, z, Run())
        self._log_z = rules.log_z

    def __call__(self, z: np.ndarray) -> np.ndarray:
        states = np.ascontiguousarray(z, dtype=np.uint8)
        return log_probabilities(self._sum(states) - self._log_z)
