"""The packaged digits and the reader of IDX files."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import optional
import pytest

import fastvi
from fastvi.datasets import make_digits
from fastvi.datasets.idx import load_idx

CODES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
FORMATS = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}


def idx_bytes(code: int, shape: tuple[int, ...], values: list[float]) -> bytes:
    """The format by the struct module alone."""
    header = struct.pack(">BBBB", 0, 0, code, len(shape)) + struct.pack(f">{len(shape)}I", *shape)
    return header + struct.pack(f">{len(values)}{FORMATS[code]}", *values)


def test_digits_are_binary_and_complete() -> None:
    data = fastvi.datasets.digits()
    assert data.images.shape == (1797, 64)
    assert data.images.dtype == np.uint8
    assert set(np.unique(data.images)) == {0, 1}
    assert data.labels.shape == (1797,)
    assert data.image_shape == (8, 8)
    # counts of the UCI documentation's test set
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # facts stated in the docstring
    assert data.images.sum(axis=1).min() > 0
    assert round(100 * data.images.mean()) == 32


def test_digits_are_the_ones_that_the_script_made() -> None:
    data = fastvi.datasets.digits()
    digest = hashlib.sha256(data.images.tobytes() + data.labels.tobytes()).hexdigest()
    assert digest == "ed6c0cb437dea0d8fc504f3a2f6c01b32f96d0f70668c61983d8534f793952f1"


@pytest.mark.peers
def test_the_script_makes_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optional.package("sklearn")
    kept = make_digits.DESTINATION
    monkeypatch.setattr(make_digits, "DESTINATION", tmp_path / "digits.npz")
    make_digits.main()
    with np.load(kept) as old, np.load(tmp_path / "digits.npz") as new:
        assert sorted(old) == sorted(new) == ["labels", "packed_images"]
        for name in old:
            np.testing.assert_array_equal(new[name], old[name], strict=True)


def test_digits_cannot_be_changed() -> None:
    data = fastvi.datasets.digits()
    with pytest.raises(ValueError, match="read-only"):
        data.images[0, 0] = 1
    with pytest.raises(AttributeError):
        data.labels = data.labels  # type: ignore[misc]
    assert repr(data) == "Digits(1797 images of shape (8, 8))"


def test_datasets_import_neither_numba_nor_scipy() -> None:
    code = "import sys, fastvi; fastvi.datasets.digits(); print({'numba', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_idx_reads_every_type(tmp_path: Path, code: int, compress: bool) -> None:
    values = [0, 1, 2, 100, 127, 5] if code in (0x08, 0x09) else [0, 1, -2, 300, -32768, 5]
    content = idx_bytes(code, (2, 3), values)
    path = tmp_path / "data.idx"
    path.write_bytes(gzip.compress(content) if compress else content)
    array = load_idx(path)
    assert array.dtype == np.dtype(CODES[code])
    assert array.dtype.isnative
    assert array.tolist() == [values[:3], values[3:]]
    array[0, 0] = 1  # writeable


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (0x08, [255]),
        (0x09, [-128]),
        (0x0B, [-32768]),
        (0x0C, [-(2**31)]),
        (0x0D, [math.inf]),
        (0x0E, [1e300]),
    ],
)
def test_idx_extreme_values_and_text_paths(tmp_path: Path, code: int, values: list[float]) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(code, (1,), values))
    assert load_idx(str(path)).tolist() == values


def test_idx_without_data_and_without_axes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(0x08, (0, 28, 28), []))
    assert load_idx(path).shape == (0, 28, 28)
    path.write_bytes(idx_bytes(0x0C, (), [-7]))
    assert load_idx(path)[()] == -7


GOOD = idx_bytes(0x08, (2, 2), [1, 2, 3, 4])
HUGE = bytes([0, 0, 0x0E, 3]) + b"\xff" * 12 + b"1234"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an IDX file .* with nothing"),
        (b"\x89PNG\r\n", "an IDX file .* with 89 50 4e 47"),
        (b"\0\0\x08", "an IDX file"),
        (b"\0\0\x0a\x01\0\0\0\x01\0", "unknown type 0x0a"),
        (b"\0\0\x08\x21" + b"\0" * 200, "at most 32 axes, got .* with 33"),
        (GOOD[:9], "truncated in its header: 9 bytes instead of at least 12"),
        (GOOD[:-1], "truncated: 15 bytes instead of 16"),
        (GOOD + b"\0", "with trailing bytes: 17 bytes instead of 16"),
        (HUGE, "truncated: 20 bytes instead of"),
        (gzip.compress(GOOD)[:-3], "a whole gzip file, got .* truncated or damaged"),
        (b"\x1f\x8b" + b"nonsense" * 3, "a whole gzip file"),
        (gzip.compress(GOOD[:-1]), "truncated: 15 bytes instead of 16"),
    ],
)
def test_idx_refuses_other_files_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "data.idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_idx(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_idx_missing_file_directory_and_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path must name an IDX file, got .*does not exist"):
        load_idx(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match="got the directory"):
        load_idx(tmp_path)
    with pytest.raises(TypeError, match=r"path must be a str or an os.PathLike, got 3 \(int\)"):
        load_idx(3)  # type: ignore[arg-type]
