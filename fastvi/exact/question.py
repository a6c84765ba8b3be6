"""What the exact questions have in common: how their arguments are checked, data grouped, runs set up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.engine import requests
from fastvi.engine.cuda.arrays import (
    DeviceData,
    device_data,
    on_device,
    refuse_pixels,
    refuse_unless_asked,
)
from fastvi.engine.cuda.place import placed
from fastvi.engine.form import num_chunks
from fastvi.engine.progress import Progress, Reporter
from fastvi.models.enumerable import NO_DATA, Enumerable

if TYPE_CHECKING:
    from fastvi.engine.form import Form
    from fastvi.engine.runs import Run


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
        if self.executor is not None:
            validation.instance(self.executor, "executor", Executor)
        if not callable(self.progress):
            validation.flag(self.progress, "progress")
        return self._replace(device=device, automatic=self.device == "auto")


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
        from fastvi.engine.checkpoints import Checkpoint, digest
        from fastvi.engine.runs import Run

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
    from fastvi.engine.form import CHUNK_DATA, Form
    from fastvi.engine.hardware import caches
    from fastvi.kernels.cpu.host import COLUMNS

    return (fastvi.__version__, COLUMNS, CHUNK_DATA, Form.wave_tiles, *caches())


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
    *,
    cuda: bool = False,
) -> Question:
    """Check everything, group the data by mask, refuse what is too large.

    ``closed(model, pixels)`` says where the question is answered without summing over states, ``cuda``
    whether a GPU can answer it.
    """
    options = options.checked(cuda=cuda)
    data, mask = checked_data(model, x, observed, options.device if cuda else None)
    groups = []
    for pixels, members, part, free in seen_groups(model, data, mask):
        is_closed = closed(model, pixels)
        if is_closed:
            refuse_pixels(part, NO_SUM)
        groups.append(Group(pixels, members, part, free, is_closed))
        if not is_closed:
            requests.check_size(
                free.size,
                len(members),
                model.num_pixels,
                None if options.device == "cuda" else options.memory_limit,  # a device's is planned there
                options.max_states,
            )
    check_deep_prior(model, options.memory_limit, options.max_states)
    return Question(model, len(data), groups, options)


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
    model: Enumerable, data: Any, mask: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray, Any, np.ndarray]]:
    """pixels, members, x and free of each group of data that see the same pixels, as :class:`Group` has
    them.
    """
    for pixels, members in requests.distinct_masks(mask, len(data), model.num_pixels):
        if isinstance(data, DeviceData):
            part: Any = data.seen(members, pixels)
        else:
            part = np.ascontiguousarray(data[members][:, pixels])
        yield pixels, members, part, model._free(pixels)


def check_deep_prior(model: Enumerable, memory_limit: int | None, max_states: int) -> None:
    """Refuse a prior that is a model too large to be summed out for each state of the layer below it."""
    prior = model._deep_prior
    while prior is not None:
        size = prior.num_latents, 1 << prior.num_pixels, prior.num_pixels
        requests.check_size(*size, memory_limit, max_states, what="its prior")
        prior = prior._deep_prior


def always_summed(model: Enumerable, pixels: np.ndarray) -> bool:
    """A question that needs every state's probability."""
    return False


def partition_form(model: Enumerable, options: Options) -> Form | None:
    """What is summed for log Z, refused where it is too large; None of a model that is normalised."""
    form = model._partition_form()
    if form is not None:
        requests.check_size(
            form.num_latents, 1, model.num_pixels, options.memory_limit, options.max_states, what="log Z"
        )
    return form


def exact_log_z(model: Enumerable, device: str = "cpu") -> float:
    """log Z, refused where it is too large; 0 of a model that is normalised."""
    from fastvi.engine.log_sum import log_sums
    from fastvi.engine.runs import Run

    form = partition_form(model, Options())
    run = Run(place=placed(device, "float64", None, automatic=False))
    return 0.0 if form is None else float(log_sums(form, NO_DATA, run)[0])


def nothing_observed(model: Enumerable, options: Options, *, cuda: bool = False) -> tuple[Question, Form]:
    """A question about log Z, which no data enter, and what is summed for it."""
    options = options.checked(cuda=cuda)
    form = partition_form(model, options)
    if form is None:
        raise TypeError(f"model must have a log Z, got {validation.shown(model)}")
    return Question(model, 0, [], options), form
