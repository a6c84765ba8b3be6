"""Which forms a GPU can sum."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial, singledispatch

from fastvi.engine.decoder.direct_form import DirectForm
from fastvi.engine.states.form import SummedForm
from fastvi.engine.states.independent_set_form import IndependentSetForm
from fastvi.engine.states.pair_form import PairForm
from fastvi.engine.states.softplus_form import SoftplusForm
from fastvi.engine.states.user_form import UserForm

_LOG = logging.getLogger("fastvi")
_SUPPORTED = "networks of one layer of latents, Boltzmann machines, sparse coding and scalar log joints"


class UnsupportedError(RuntimeError):
    """A model that only the CPU can sum."""


def refuse_large(form: SummedForm) -> None:
    """Refuse networks whose weights are so large that every pixel is looked at by itself."""
    if isinstance(form, DirectForm):
        raise UnsupportedError(
            "device='cuda' sums networks of smaller weights than this one; use device='cpu'"
        )


def cuda_form(form: SummedForm, *, dtype: str = "float64", memory_limit: int | None = None) -> SummedForm:
    """Return the form as a GPU sums it; RuntimeError for a model that only the CPU can sum."""
    return _mover(form)(form, dtype, memory_limit)


@singledispatch
def _mover(form: SummedForm) -> Callable[..., SummedForm]:
    """Return what moves the form, imported here: no question to the CPU imports numba.cuda."""
    refuse_large(form)
    raise UnsupportedError(f"device='cuda' sums {_SUPPORTED}, not this model; use device='cpu'")


@_mover.register
def _(form: SoftplusForm) -> Callable[..., SummedForm]:
    from fastvi.engine.cuda.softplus_form import cuda_softplus_form

    return cuda_softplus_form if form.log_prior is None else _mover.dispatch(object)(form)


@_mover.register
def _(form: IndependentSetForm) -> Callable[..., SummedForm]:
    return _mover.dispatch(object)(form)  # a softplus form there has no pairs


@_mover.register
def _(form: PairForm) -> Callable[..., SummedForm]:
    from fastvi.engine.cuda.pair_form import cuda_pair_form

    return cuda_pair_form


@_mover.register
def _(form: UserForm) -> Callable[..., SummedForm]:
    from fastvi.engine.cuda.user_form import cuda_user_form

    return _mover.dispatch(object)(form) if form.model.vectorized else cuda_user_form


def _cuda_form_or_own(form: SummedForm, *, dtype: str, memory_limit: int | None) -> SummedForm:
    try:
        return cuda_form(form, dtype=dtype, memory_limit=memory_limit)
    except UnsupportedError as error:
        _LOG.info("device='auto' picks 'cpu': %s", error)
        return form


def placed(
    device: str, dtype: str, memory_limit: int | None, *, automatic: bool
) -> Callable[[SummedForm], SummedForm] | None:
    """Return a function that moves a form to the GPU, or None for the CPU.

    ``automatic`` leaves forms that a GPU cannot sum where they are.
    """
    if device == "cpu":
        return None
    return partial(_cuda_form_or_own if automatic else cuda_form, dtype=dtype, memory_limit=memory_limit)
