"""Work that travels to a worker once, not with each of its tasks.

A task's work (a form and a batch of data, some MB at D = 784) is pickled once. The first tasks carry it;
later ones carry its digest. A worker keeps what it was sent last, and with it the tables that it made of it.
One that was sent nothing yet answers with ``Missing``, and its task is sent again, whole.

This file imports nothing of fastvi: a worker that begins here can still be given the caller's register tiles,
for which arrays are packed, before its kernels are loaded.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections import OrderedDict
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NamedTuple

_MOST = 2  # works that a worker keeps: of one question, and of the one before
_kept: OrderedDict[str, Any] = OrderedDict()


class Missing(NamedTuple):
    """A worker's answer where it does not have the work of this digest."""

    digest: str


class Packed(NamedTuple):
    """Pickled work, its digest, and the names of the register tiles for which its arrays are packed."""

    digest: str
    content: bytes
    tiles: str


def packed(executor: Executor, work: Any, tiles: str) -> Packed | None:
    """Return the work, pickled; None where it is sent with each task.

    Threads share it as it is. What only the executor's own pickler can take, a closure, is left to it.
    """
    if isinstance(executor, ThreadPoolExecutor):
        return None
    try:
        content = pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
    except Exception:  # pickle raises whatever an object's own methods do
        return None
    return Packed(hashlib.sha256(content).hexdigest(), content, tiles)


def perform(digest: str, content: bytes | None, tiles: str, task: Any) -> Any:
    """Return what the work does with a task, in a worker, or ``Missing``."""
    if "fastvi.kernels.host" not in sys.modules:
        os.environ.setdefault("FASTVI_REGISTER_TILES", tiles)
    work = _kept.get(digest)
    if work is None:
        if content is None:
            return Missing(digest)
        work = _kept[digest] = pickle.loads(content)
        while len(_kept) > _MOST:
            _kept.popitem(last=False)
    return work(task)
