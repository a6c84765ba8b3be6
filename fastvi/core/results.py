"""Results per datum: their data by index, and as tables of other programs.

A result of N data says by :meth:`PerDatum._columns` which numbers it has for each datum, and by
:meth:`PerDatum._some` how some of the data are kept. All the rest is here.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from fastvi.core import validation
from fastvi.core.extras import how_to_install

_SHOWN = 5  # rows of a table in a notebook


class PerDatum:
    """A result whose arrays have the data as their first axis.

    ``len(result)`` is N. ``result[3]``, ``result[2:5]``, ``result[mask]`` and ``result[[1, 2]]`` are results
    of the same class for those data; one of a single datum keeps its axis, (1,). A loop gives one such result
    for each datum. A result is true, also one of no data.
    """

    # names of the axes of a column beyond those of the data
    _axes: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def _columns(self) -> dict[str, Any]:
        """Numbers by name, an array for each datum or one value for all: by default the fields."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    def _warnings(self) -> list[str]:
        """Phrases to warn of, one for each warning."""
        return []

    def _num_data_axes(self) -> int:
        """Axes of the data: 1 but for estimates of log weights of more axes."""
        return 1

    def _some(self, which: Any) -> Self:
        """Result of the data ``which``, a slice or indices: by default of all fields that are arrays."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        arrays = {name: value[which] for name, value in values.items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)  # type: ignore[type-var]

    def __len__(self) -> int:
        return next(len(value) for value in self._columns().values() if isinstance(value, np.ndarray))

    def __bool__(self) -> bool:
        return True

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        # NumPy would take it for a sequence of sequences, 64 deep
        name = next(name for name, value in self._columns().items() if isinstance(value, np.ndarray))
        raise TypeError(f"{type(self).__name__} is no array: take one of its fields, such as {name}")

    def __getitem__(self, which: Any) -> Self:
        return self._some(data_index(which, len(self)))

    def __iter__(self) -> Iterator[Self]:
        return (self[n] for n in range(len(self)))

    def to_dataframe(self) -> Any:
        """Return a pandas ``DataFrame`` with one row for each datum.

        Columns have the names of the fields. A vector takes a column for each entry, ``mean_0``, ``mean_1``,
        a matrix ``second_moment_0_1``. Logarithms are in nats.

        Returns
        -------
        pandas.DataFrame
            Its index is named ``datum``.

        Raises
        ------
        ImportError
            Without pandas.

        Examples
        --------
        >>> import fastvi
        >>> table = fastvi.JointTable([[0.1, 0.3], [0.5, 0.1]])
        >>> bound = fastvi.elbo(table, [0, 1], fastvi.Categorical([1.0, 0.0]))
        >>> frame = bound.to_dataframe()[["value", "entropy"]].reset_index()  # doctest: +SKIP
        >>> print(frame.round(3).to_string(index=False))  # doctest: +SKIP
         datum  value  entropy
             0 -1.425    0.582
             1 -0.544    0.582
        """
        pandas = package("pandas")
        columns, num_axes = self._columns(), self._num_data_axes()
        shape = next(value.shape[:num_axes] for value in columns.values() if isinstance(value, np.ndarray))
        flat = flat_columns(columns, num_axes)
        if num_axes == 1:
            index = pandas.RangeIndex(shape[0], name="datum")
        else:
            index = pandas.MultiIndex.from_product([range(size) for size in shape], names=self._data_axes())
        return pandas.DataFrame(flat, index=index)

    def to_xarray(self) -> Any:
        """Return an xarray ``Dataset`` with a variable for each field.

        Returns
        -------
        xarray.Dataset
            Axes are named: ``datum``, then ``latent`` and others of the field. Attributes say the version of
            fastvi, ``fastvi_version``, the class of the result and the ``units`` of its logarithms, "nats".

        Raises
        ------
        ImportError
            Without xarray.

        Examples
        --------
        >>> import fastvi
        >>> table = fastvi.JointTable([[0.1, 0.3], [0.5, 0.1]])
        >>> bound = fastvi.elbo(table, [0, 1], fastvi.Categorical([1.0, 0.0]))
        >>> float(bound.to_xarray().value.mean("datum").round(3))  # doctest: +SKIP
        -0.984
        """
        xarray = package("xarray")
        variables: dict[str, Any] = {}
        coords: dict[str, Any] = {}
        for name, value in self._columns().items():
            axes = (*self._data_axes(), *self._axes.get(name, ())) if np.ndim(value) else ()
            variables[name] = (axes, value)
            coords |= {axis: np.arange(size) for axis, size in zip(axes, np.shape(value), strict=True)}
        return xarray.Dataset(variables, coords, self._attributes())

    def to_datatree(self) -> Any:
        """Return an xarray ``DataTree``, as ArviZ keeps what it knows of a model.

        Returns
        -------
        xarray.DataTree
            The dataset of :meth:`to_xarray` is the group of the result's name: ``estimate``,
            ``exact_posterior`` and so on.

        Raises
        ------
        ImportError
            Without xarray.

        Examples
        --------
        >>> import fastvi
        >>> table = fastvi.JointTable([[0.1, 0.3], [0.5, 0.1]])
        >>> bound = fastvi.elbo(table, [0, 1], fastvi.Categorical([1.0, 0.0]))
        >>> tree = bound.to_datatree()  # doctest: +SKIP
        >>> list(tree.children), tree["elbo"].attrs["units"]  # doctest: +SKIP
        (['elbo'], 'nats')
        """
        return self._tree({})

    def _tree(self, groups: Mapping[str, Any]) -> Any:
        """A DataTree of ``groups`` and of the result's own numbers."""
        xarray = package("xarray")
        name = "".join("_" * c.isupper() + c.lower() for c in type(self).__name__).lstrip("_")
        tree = xarray.DataTree.from_dict({**groups, name: self.to_xarray()})
        tree.attrs.update(self._attributes())
        return tree

    def _attributes(self) -> dict[str, str]:
        import fastvi

        return {"fastvi_version": fastvi.__version__, "result": type(self).__name__, "units": "nats"}

    def _data_axes(self) -> tuple[str, ...]:
        num_axes = self._num_data_axes()
        return ("datum",) if num_axes == 1 else tuple(f"datum_{i}" for i in range(num_axes))

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: the first data, numbers alone, and what there is to warn of."""
        num_axes = self._num_data_axes()
        rows = {
            name: value.reshape(-1)[:_SHOWN].tolist()
            for name, value in self._columns().items()
            if isinstance(value, np.ndarray) and value.ndim == num_axes
        }
        num = len(next(iter(rows.values())))
        return html_table(self, {"datum": [*range(num)], **rows}, self._warnings(), len(self) > num)


def flat_columns(columns: Mapping[str, Any], num_axes: int = 1) -> dict[str, Any]:
    """Columns of numbers: a vector a datum becomes ``mean_0``, ``mean_1``, a matrix ``second_moment_0_1``.

    ``num_axes`` are the axes of the data, which become one.
    """
    flat: dict[str, Any] = {}
    for name, value in columns.items():
        if not isinstance(value, np.ndarray):
            flat[name] = value
            continue
        rest = value.shape[num_axes:]
        rows = value.reshape(int(np.prod(value.shape[:num_axes])), *rest)
        for place in np.ndindex(*rest):
            flat["_".join([name, *map(str, place)])] = rows[(slice(None), *place)]
    return flat


def html_table(
    result: Any, columns: Mapping[str, Sequence[Any]], warnings: Sequence[str] = (), more: bool = False
) -> str:
    """A table of HTML without styles: the result's class, the warnings, named columns, dots for more rows."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in columns)
    lines = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    if more:
        lines.append(["..."] * len(columns))
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    said = "".join(f"<p><strong>WARNING: {html.escape(text)}</strong></p>" for text in warnings)
    title = html.escape(f"{type(result).__name__}, num_data={len(result)}")
    return f"<p>{title}</p>{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def draws_dataset(draws: Mapping[str, Any], axes: Mapping[str, tuple[str, ...]] | None = None) -> Any:
    """Draws (draw, datum, ...) as a dataset of one chain, with ArviZ's names of axes."""
    xarray = package("xarray")
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, value in draws.items():
        names = ("chain", "draw", "datum", *(axes or {}).get(name, ()))
        variables[name] = (names, value[None])
        coords |= {axis: np.arange(size) for axis, size in zip(names, value[None].shape, strict=True)}
    return xarray.Dataset(variables, coords)


def data_index(which: Any, num_data: int) -> slice | np.ndarray:
    """Slice, or indices of at least 0 from an int, a mask or several ints, that pick some of N data."""
    if isinstance(which, slice):
        try:
            which.indices(num_data)
        except TypeError:
            raise TypeError(f"index must be a slice of ints, got {validation.shown(which)}") from None
        except ValueError:
            text = f"index must be a slice of a step other than 0, got {validation.shown(which)}"
            raise ValueError(text) from None
        return which
    allowed = "an int, a slice, a boolean mask or a sequence of ints"
    if isinstance(which, str | bytes | tuple):
        raise TypeError(f"index must be {allowed}, got {validation.shown(which)}")
    found = validation.number_array(which, "index", allowed)
    if found.dtype.kind == "b" and found.ndim == 1:
        if len(found) != num_data:
            raise IndexError(f"index must be a mask of {num_data} data, got one of {len(found)}")
        return np.flatnonzero(found)
    if found.shape == (0,):  # of no dtype that would say something
        return np.empty(0, np.int64)
    if found.dtype.kind not in "iu" or found.ndim > 1:
        raise TypeError(f"index must be {allowed}, got {validation.shown(which)}")
    wrong = (found < -num_data) | (found >= num_data)
    if wrong.any():
        first = int(found[wrong][0]) if found.ndim else int(found)
        raise IndexError(f"index must lie in {-num_data} ... {num_data - 1}, got {first}")
    return np.atleast_1d(np.where(found < 0, found + num_data, found).astype(np.int64))


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def package(name: str) -> Any:
    """Another program's package, or one line that says how to get it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is needed here: {how_to_install(name)}") from error
