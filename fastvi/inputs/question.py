"""Exact questions: arguments checked, data grouped, what is too large refused, a run set up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

import fastvi
from fastvi.core import validation
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.checkpoints import Checkpoint, digest
from fastvi.engine.run.hardware import caches
from fastvi.engine.run.progress import reporter
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import CHUNK_DATA
from fastvi.engine.states.form import WAVE_TILES, Form
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.inputs.data import NO_SUM, Group, groups_of, read_data
from fastvi.inputs.memory import OTHER, Asked, predicted_bytes
from fastvi.inputs.options import NO_LIMITS, Limits, Options
from fastvi.kernels.host import MATMUL_64
from fastvi.rules.base import NO_DATA, Rules
from fastvi.rules.questions import LOG_PARTITION


class Question(NamedTuple):
    """Checked data in groups, and what a run needs to know."""

    rules: Rules
    num_data: int
    groups: list[Group]
    options: Options

    def form(self, group: Group) -> Form:
        """What is summed for one group; made when it is needed, since each mask has its own."""
        return self.rules.kept_form(group.observed, self.options.dtype)

    def states(self) -> int:
        """States that all chunks of all groups go through once."""
        return sum(
            self.rules.num_states(group.x, group.observed) for group in self.groups if not group.closed
        )

    def run(self, name: str, states: int, *asked: Any, unit: str = "states") -> Run:
        """A run of ``states`` states in all, or other units; its checkpoint is this question's alone."""
        checkpoint = None
        if self.options.checkpoint is not None:
            for group in self.groups:
                if not isinstance(group.x, np.ndarray):
                    raise ValueError(
                        "checkpoint must be None for data on a GPU: what it belongs to is not read back"
                    )
            data = [(group.observed, group.members, group.x) for group in self.groups]
            where = _summed_by(self.options.device)
            identity = digest(name, self.rules.digest(), data, self.options.dtype, asked, tiles(), where)
            checkpoint = Checkpoint.open(self.options.checkpoint, identity)
        options = self.options
        report = reporter(options.progress, states, unit)
        place = forms_on(options.device, options.dtype, options.memory_limit, automatic=options.automatic)
        return Run(executor=options.executor, checkpoint=checkpoint, report=report, place=place)


def tiles() -> tuple[Any, ...]:
    """Version and tiling, for a checkpoint's identity: those of others have other bits and other waves."""
    return (fastvi.__version__, MATMUL_64.lanes, CHUNK_DATA, WAVE_TILES, *caches())


def _summed_by(device: str) -> str:
    """CuBLAS sums in another order than our kernels do."""
    if device == "cpu":
        return device
    from fastvi.engine.cuda import blas

    return "cuda by cuBLAS" if blas.wanted() else device


def forms_on(
    device: str, dtype: str = "float64", memory_limit: int | None = None, *, automatic: bool = False
) -> Callable[[Any], Any] | None:
    """Return a function that moves a form to a GPU, or None for the CPU.

    ``automatic``: a form that a GPU cannot sum stays on the CPU.
    """
    if device == "cpu":
        return None
    from fastvi.engine.cuda.place import placed

    return placed(device, dtype, memory_limit, automatic=automatic)


def ask(
    rules: Rules,
    x: ArrayLike | None,
    observed: ArrayLike | None,
    options: Options,
    closed: Callable[[np.ndarray], bool],
    asked: Asked = OTHER,
    *,
    cuda: bool = False,
    relaxed: bool = False,
) -> Question:
    """Check everything, group the data by mask, refuse what is too large.

    ``closed(observed)`` says where the question is answered without summing over states, ``asked`` what its
    memory depends on, ``cuda`` whether a GPU can answer it, ``relaxed`` whether bits may be numbers between.
    """
    options = options.checked(cuda=cuda)
    data, mask = read_data(rules, x, observed, options.device if cuda else None, relaxed=relaxed)
    # data of another dtype, or in a list, were copied
    own = (
        data is not x
        and isinstance(data, np.ndarray)
        and not (isinstance(x, np.ndarray) and np.may_share_memory(data, x))
    )
    kept = asked.question == "exact_posterior"  # what it returns reads its data again
    groups = []
    for group in groups_of(rules, data, mask, kept=kept and not own):
        is_closed = closed(group.observed)
        if is_closed:
            refuse_pixels(group.x, NO_SUM)
        groups.append(group._replace(closed=True) if is_closed else group)
    # parts of them are counted as copies
    whole = own and not kept and any(group.x is data for group in groups)
    check_size(rules, groups, asked, options.limits, data.nbytes if whole else 0)
    return Question(rules, len(data), groups, options)


def check_size(
    rules: Rules, groups: Sequence[Group], asked: Asked, limits: Limits, converted: int = 0
) -> None:
    """Refuse a question that is too large; ``converted``: bytes of data that are not the caller's own."""
    summed = [(rules.state_bits(group.observed), group.observed) for group in groups if not group.closed]
    most, observed = max(summed, key=lambda one: one[0], default=(0, None))
    sizes = [("", most, rules.num_pixels)] if summed else []
    partition = rules.partition_memory() if asked.normalized else None
    if partition is not None:
        sizes.append(("log Z", (partition.num_states - 1).bit_length(), rules.num_pixels))
    prior = rules.deep_prior
    while prior is not None:
        sizes.append(("its prior", prior.num_latents, prior.num_pixels))
        prior = prior.deep_prior
    if limits.memory is None and all(1 << num_latents <= limits.states for _, num_latents, _ in sizes):
        return  # the bytes are not counted where nobody asks: an eighth of a call with 2^8 states
    need = converted + predicted_bytes(rules, groups, asked)
    data = f"{sum(group.num_data for group in groups)} data"
    for what, num_latents, num_pixels in sizes:
        ways = ""
        if (1 << num_latents) > limits.states and what in ("", "log Z"):
            ways = rules.sizes_told(None if what else observed)
        limits.check(
            num_latents, need, f"{what or data} under 2^{num_latents} states of {num_pixels} pixels", ways
        )
    if not sizes:
        limits.check(0, need, f"{data} of {rules.num_pixels} pixels")


def always_summed(observed: np.ndarray) -> bool:
    """Say that a question needs every state's probability."""
    return False


def exact_log_z(rules: Rules, device: str = "cpu", limits: Limits = NO_LIMITS) -> float:
    """Log Z less the constant, refused where it is too large; 0 of a model that is normalised."""
    if device == "cuda":  # which goes through states alone
        rules = rules.by("enumeration", LOG_PARTITION)
    if rules.partition_memory() is not None:
        check_size(rules, [], Asked("log_partition"), limits)
    run, form = Run(place=forms_on(device)), rules.kept_partition_form()
    return 0.0 if form is None else float(log_sums(form, NO_DATA, run)[0])


def nothing_observed(rules: Rules, options: Options, *, cuda: bool = False) -> tuple[Question, Form]:
    """Return a question about log Z, which no data enter, and what is summed for it."""
    options = options.checked(cuda=cuda)
    if rules.partition_memory() is None:
        raise TypeError(f"model must have a log Z, got {validation.shown(rules.model)}")
    check_size(rules, [], Asked("log_partition"), options.limits)
    form = rules.kept_partition_form()
    assert form is not None
    return Question(rules, 0, [], options), form
