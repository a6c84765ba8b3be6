"""What the exact questions have in common: how their arguments are checked, data grouped, runs set up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.engine.cuda.arrays import DeviceData, device_data, on_device, refuse_unless_asked
from fastvi.engine.cuda.place import placed
from fastvi.engine.run.progress import Progress, Reporter
from fastvi.engine.run.slices import num_chunks
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.inputs import requests
from fastvi.inputs.memory import OTHER, Asked, Seen, predicted_bytes
from fastvi.inputs.requests import NO_LIMITS, Limits
from fastvi.models.enumerable import NO_DATA, Enumerable

if TYPE_CHECKING:
    from fastvi.engine.run.runs import Run
    from fastvi.engine.states.form import Form


NO_SUM = "where log p(x) takes no sum over states (that is computed on the CPU)"  # so its data must be there


class Options(NamedTuple):
    """How to run, as the caller said it."""

    device: str = "cpu"
    dtype: str = "float64"
    executor: Executor | None = None
    checkpoint: Any = None
    progress: Progress = False
    memory_limit: int | None = None
    max_states: int = requests.MAX_STATES
    automatic: bool = False  # whether the device was left to us

    def checked(self, *, cuda: bool = False) -> Options:
        """The same, with every value checked and the device chosen; ``cuda``: whether a GPU can answer."""
        device = requests.check_device(self.device, cuda=cuda)
        requests.check_dtype(self.dtype)
        limits = requests.check_limits(self.memory_limit, self.max_states)
        if self.executor is not None:
            validation.instance(self.executor, "executor", Executor)
        if not callable(self.progress):
            validation.flag(self.progress, "progress")
        return self._replace(
            device=device, automatic=self.device == "auto",
            memory_limit=limits.memory, max_states=limits.states,
        )  # fmt: skip

    @property
    def limits(self) -> Limits:
        """Those of this machine: the memory of a device is planned there."""
        return Limits(None if self.device == "cuda" else self.memory_limit, self.max_states)


class Group(NamedTuple):
    """Data that see the same pixels."""

    pixels: np.ndarray  # (D,) bool
    members: np.ndarray  # indices of the data
    x: Any  # (members, pixels seen), or data of a GPU
    free: np.ndarray  # latents that are not observed
    closed: bool  # whether the question is answered without summing over their states


class Question(NamedTuple):
    """Checked data in groups, and what a run needs to know."""

    model: Enumerable
    num_data: int
    groups: list[Group]
    options: Options

    def form(self, group: Group) -> Form:
        """What is summed for one group; made when it is needed, since each mask has its own."""
        return self.model._form(group.pixels, self.options.dtype)

    def states(self) -> int:
        """States that all chunks of all groups go through once."""
        return sum(
            num_chunks(len(group.members)) << group.free.size for group in self.groups if not group.closed
        )

    def run(self, name: str, states: int, *asked: Any) -> Run:
        """A run of ``states`` states in all, whose checkpoint belongs to this question alone."""
        from fastvi.engine.run.checkpoints import Checkpoint, digest
        from fastvi.engine.run.runs import Run

        checkpoint = None
        if self.options.checkpoint is not None:
            for group in self.groups:
                if isinstance(group.x, DeviceData):
                    raise ValueError(
                        "checkpoint must be None for data on a GPU: what it belongs to is not read back"
                    )
            data = [(group.pixels, group.members, group.x) for group in self.groups]
            where = _summed_by(self.options.device)
            identity = digest(name, self.model._digest(), data, self.options.dtype, asked, tiles(), where)
            checkpoint = Checkpoint.open(self.options.checkpoint, identity)
        report = Reporter(self.options.progress, states)
        options = self.options
        place = placed(options.device, options.dtype, options.memory_limit, automatic=options.automatic)
        return Run(executor=options.executor, checkpoint=checkpoint, report=report, place=place)


def tiles() -> tuple[Any, ...]:
    """Version and tiling, for a checkpoint's identity: those of others have other bits and other waves."""
    import fastvi
    from fastvi.engine.run.hardware import caches
    from fastvi.engine.run.slices import CHUNK_DATA
    from fastvi.engine.states.form import WAVE_TILES
    from fastvi.kernels.cpu.simd.host import CHOSEN

    return (fastvi.__version__, repr(CHOSEN), CHUNK_DATA, WAVE_TILES, *caches())


def _summed_by(device: str) -> str:
    """cuBLAS sums in another order than our kernels do."""
    if device == "cpu":
        return device
    from fastvi.engine.cuda import blas

    return "cuda by cuBLAS" if blas.wanted() else device


def ask(
    model: Enumerable,
    x: ArrayLike | None,
    observed: ArrayLike | None,
    options: Options,
    closed: Callable[[Enumerable, np.ndarray], bool],
    asked: Asked = OTHER,
    *,
    cuda: bool = False,
) -> Question:
    """Check everything, group the data by mask, refuse what is too large.

    ``closed(model, pixels)`` says where the question is answered without summing over states, ``asked`` what
    its memory depends on, ``cuda`` whether a GPU can answer it.
    """
    options = options.checked(cuda=cuda)
    data, mask = checked_data(model, x, observed, options.device if cuda else None)
    # data of another dtype, or in a list, were copied
    own = isinstance(data, np.ndarray) and not (isinstance(x, np.ndarray) and np.may_share_memory(data, x))
    kept = asked.question == "exact_posterior"  # what it returns reads its data again
    groups = []
    for pixels, members, part, free in seen_groups(model, data, mask, kept=kept and not own):
        is_closed = closed(model, pixels)
        if is_closed:
            refuse_pixels(part, NO_SUM)
        groups.append(Group(pixels, members, part, free, is_closed))
    seen = [Seen(group.pixels, len(group.members), group.closed) for group in groups]
    # parts of them are counted as copies
    whole = own and not kept and any(group.x is data for group in groups)
    check_size(model, seen, asked, options.limits, data.nbytes if whole else 0)
    return Question(model, len(data), groups, options)


def check_table(options: Options) -> None:
    """The options of a question about a table, which is answered at once."""
    options.checked()
    if options.checkpoint is not None:
        came = validation.shown(options.checkpoint)
        raise ValueError(
            f"checkpoint must be None for a JointTable, which takes no run to go on with, got {came}"
        )


def check_size(
    model: Enumerable, groups: Sequence[Seen], asked: Asked, limits: Limits, converted: int = 0
) -> None:
    """Refuse a question that is too large; ``converted``: bytes of data that are not the caller's own."""
    summed = [group for group in groups if not group.closed]
    num_data = sum(group.num_data for group in groups)
    largest = max((model._free(group.pixels).size for group in summed), default=0)
    sizes = [(f"{num_data} data", largest, model.num_pixels)] if summed else []
    partition = model._partition_memory() if asked.normalized else None
    if partition is not None:
        sizes.append(("log Z", partition.num_latents, model.num_pixels))
    prior = model._deep_prior
    while prior is not None:
        sizes.append(("its prior", prior.num_latents, prior.num_pixels))
        prior = prior._deep_prior
    if limits.memory is None and all(1 << num_latents <= limits.states for _, num_latents, _ in sizes):
        return  # the bytes are not counted where nobody asks: an eighth of a call with 2^8 states
    need = converted + predicted_bytes(model, groups, asked)
    for what, num_latents, num_pixels in sizes:
        text = f"{what} under 2^{num_latents} states of {num_pixels} pixels"
        requests.check_size(limits, num_latents, need, text)
    if not sizes:
        requests.check_size(limits, 0, need, f"{num_data} data of {model.num_pixels} pixels")


def checked_data(
    model: Enumerable, x: ArrayLike | None, observed: ArrayLike | None, device: str | None = None
) -> tuple[Any, np.ndarray | None]:
    """Clean data (N, D) and the mask of what was observed, or None where all was.

    Data of a GPU stay there, as ``DeviceData``, where ``device`` is "cuda"; None: this question reads none.
    """
    if on_device(observed):
        raise TypeError("observed must lie on the host, where data are grouped by it, got an array of a GPU")
    if on_device(x):
        refuse_unless_asked(x, device)
        found = device_data(x, model.num_pixels)
        if not model._data_by_terms:
            refuse_pixels(found, f"for a {type(model).__name__}")
        return found, validation.observed_mask(observed, len(found), model.num_pixels)
    if x is None and not model._may_lack_data:
        raise TypeError(f"x must be an array of shape (num_data, {model.num_pixels}), got None")
    return model._check_data(x, observed)


def seen_groups(
    model: Enumerable, data: Any, mask: np.ndarray | None, *, kept: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray, Any, np.ndarray]]:
    """pixels, members, x and free of each group of data that see the same pixels, as :class:`Group` has
    them; x is the caller's own array where all data see everything, unless it is ``kept``.
    """
    for pixels, members in requests.distinct_masks(mask, len(data), model.num_pixels):
        if isinstance(data, DeviceData):
            part: Any = data.seen(members, pixels)
        elif not pixels.all():  # take's result lies in order, that of an index has to be copied once more
            rows = data[members] if len(members) < len(data) else data
            part = rows.take(np.flatnonzero(pixels), axis=1)
        elif len(members) < len(data):
            part = np.ascontiguousarray(data[members])
        else:
            part = data.copy() if kept else data
        yield pixels, members, part, model._free(pixels)


def always_summed(model: Enumerable, pixels: np.ndarray) -> bool:
    """A question that needs every state's probability."""
    return False


def exact_log_z(model: Enumerable, device: str = "cpu", limits: Limits = NO_LIMITS) -> float:
    """log Z, refused where it is too large; 0 of a model that is normalised."""
    from fastvi.engine.posterior.log_sum import log_sums
    from fastvi.engine.run.runs import Run

    if model._partition_memory() is not None:
        check_size(model, [], Asked("log_partition"), limits)
    run, form = Run(place=placed(device, "float64", None, automatic=False)), model._partition_form()
    return 0.0 if form is None else float(log_sums(form, NO_DATA, run)[0])


def nothing_observed(model: Enumerable, options: Options, *, cuda: bool = False) -> tuple[Question, Form]:
    """A question about log Z, which no data enter, and what is summed for it."""
    options = options.checked(cuda=cuda)
    if model._partition_memory() is None:
        raise TypeError(f"model must have a log Z, got {validation.shown(model)}")
    check_size(model, [], Asked("log_partition"), options.limits)
    form = model._partition_form()
    assert form is not None
    return Question(model, 0, [], options), form
