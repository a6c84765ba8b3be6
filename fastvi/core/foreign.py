"""Arrays of other packages as arrays that NumPy understands, told by their types' modules: none is imported.

Tensors that require a gradient are detached. bfloat16 and its like become float32, which holds them exactly.
Sparse arrays become dense, of one byte a number where all are 0 or 1. pandas' nullable columns become plain
ones, NA becomes NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PLAIN = (np.ndarray, list, tuple)  # what NumPy knows
_ML_DTYPES = (("bfloat", np.float32), ("float", np.float32), ("uint", np.uint8), ("int", np.int8))


def package_of(value: Any) -> str:
    """The package that the type of ``value`` is from."""
    return str(type(value).__module__ or "").partition(".")[0]


def is_sparse(value: Any) -> bool:
    """Tell whether this is a sparse array of SciPy or a sparse tensor of PyTorch."""
    if package_of(value) == "scipy":
        return hasattr(value, "tocsr") and hasattr(value, "toarray")
    return package_of(value) == "torch" and str(getattr(value, "layout", "torch.strided")) != "torch.strided"


def sparse_rows(value: Any) -> Any:
    """A sparse array as SciPy's, by rows, each entry once; of one byte a number where all are 0 or 1."""
    if package_of(value) == "torch":
        from scipy.sparse import coo_matrix

        # of the tensor's own layout: coalescing adds up what stands twice
        entries = value.detach().to_sparse().coalesce()
        places, numbers = entries.indices().numpy(), np.asarray(plain(entries.values()))
        value = coo_matrix((numbers, (places[0], places[1])), shape=tuple(value.shape))
    rows = value.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    bits = bool(((rows.data == 0) | (rows.data == 1)).all())
    return rows.astype(np.uint8) if bits and rows.dtype != np.bool_ else rows


def plain(value: Any) -> Any:
    """``value``, or what NumPy can make an array of in its place; what is of no known package stays."""
    if isinstance(value, PLAIN):
        return value
    package = package_of(value)
    if is_sparse(value):
        if len(value.shape) == 2:
            return sparse_rows(value).toarray()
        return value.toarray() if package == "scipy" else plain(value.detach().to_dense())
    if package == "torch" and hasattr(value, "detach"):
        value = value.detach()
        small = str(value.dtype) == "torch.bfloat16" or str(value.dtype).startswith("torch.float8")
        return value.float() if small else value
    return value


def plain_numbers(array: np.ndarray, value: Any) -> np.ndarray:
    """``array``, which NumPy made of ``value``: numbers where it holds those of another package."""
    if array.dtype.kind == "V" and array.dtype.type.__module__.startswith("ml_dtypes"):
        for word, dtype in _ML_DTYPES:
            if array.dtype.name.startswith(word):
                return array.astype(dtype)
    if array.dtype == object and package_of(value) == "pandas":
        return _of_columns(array, value)
    return array


def _of_columns(array: np.ndarray, value: Any) -> np.ndarray:
    """Columns of booleans and numbers, which NumPy took for objects; NaN where one is missing."""
    dtypes = list(value.dtypes) if value.ndim == 2 else [value.dtype]  # of a table, or of one column
    kinds = {getattr(each, "kind", "O") for each in dtypes}
    if not kinds or not kinds <= set("biuf"):
        return array
    if "f" in kinds or bool(np.asarray(value.isna()).any()):
        return np.asarray(value.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(value.to_numpy(dtype=np.bool_ if kinds == {"b"} else np.int64))


def is_tracer(value: Any) -> bool:
    """Tell whether a value stands for an array that JAX will know later."""
    return any(
        kind.__name__ == "Tracer" and kind.__module__.startswith("jax") for kind in type(value).__mro__
    )
