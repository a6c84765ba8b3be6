"""Which forms a GPU can sum."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from fastvi.engine.states.form import Form

_LOG = logging.getLogger("fastvi")
_SUPPORTED = "networks of one layer of latents, Boltzmann machines, sparse coding and scalar log joints"


class Unsupported(RuntimeError):
    """A model that only the CPU can sum."""


def refuse_large(form: Form) -> None:
    """Refuse networks whose weights are so large that every pixel is looked at by itself."""
    from fastvi.engine.decoder.direct_form import DirectForm

    if isinstance(form, DirectForm):
        raise Unsupported("device='cuda' sums networks of smaller weights than this one; use device='cpu'")


def cuda_form(form: Form, *, dtype: str = "float64", memory_limit: int | None = None) -> Form:
    """The same sum as a GPU does it; RuntimeError for a model that only the CPU can sum."""
    refuse_large(form)
    # here, so that no question to the CPU imports numba.cuda
    from fastvi.engine.cuda.pair_form import cuda_pair_form
    from fastvi.engine.cuda.softplus_form import cuda_softplus_form
    from fastvi.engine.cuda.user_form import cuda_user_form
    from fastvi.engine.states.pair_form import PairForm
    from fastvi.engine.states.softplus_form import SoftplusForm
    from fastvi.engine.states.user_form import UserForm

    if isinstance(form, SoftplusForm) and form.log_prior is None:
        return cuda_softplus_form(form, dtype, memory_limit)
    if isinstance(form, PairForm):
        return cuda_pair_form(form, dtype, memory_limit)
    if isinstance(form, UserForm) and not form.model.vectorized:
        return cuda_user_form(form, dtype, memory_limit)
    raise Unsupported(f"device='cuda' sums {_SUPPORTED}, not this model; use device='cpu'")


def _cuda_form_or_own(form: Form, *, dtype: str, memory_limit: int | None) -> Form:
    try:
        return cuda_form(form, dtype=dtype, memory_limit=memory_limit)
    except Unsupported as error:
        _LOG.info("device='auto' picks 'cpu': %s", error)
        return form


def placed(
    device: str, dtype: str, memory_limit: int | None, *, automatic: bool
) -> Callable[[Form], Form] | None:
    """What takes forms to where ``device`` sums them; None for the CPU. ``automatic``: what a GPU cannot
    sum stays here.
    """
    if device == "cpu":
        return None
    return partial(_cuda_form_or_own if automatic else cuda_form, dtype=dtype, memory_limit=memory_limit)
