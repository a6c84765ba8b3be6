"""Where a bucket finds the table of a child."""

from __future__ import annotations

from fastvi.kernels.jit import inline


@inline
def child_entry(tree, child, state):
    """Return the entry of a child's table, its last bit 0, that belongs to a state of the parent's scope.

    ``tree`` holds, for each table, where the units of its scope ``begin``, and the ``place`` of each in the
    parent's.
    """
    entry, begin = 0, tree.begin[child]
    for bit in range(tree.begin[child + 1] - begin - 1):
        entry |= ((state >> tree.place[begin + bit]) & 1) << bit
    return entry
