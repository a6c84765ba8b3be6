"""Files made to deceive their reader: what they declare is checked before anything is unpacked."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastvi
from fastvi.core import archives
from fastvi.core.archives import Archive, DamagedError, TooLargeError, read_npy
from fastvi.datasets.idx import load_idx

MODEL = fastvi.SigmoidBeliefNetwork([[1.0, 2.0], [3.0, 4.0]], [0.0, 1.0], [0.5, 0.5])
LARGE = 1 << 20  # of what is called large here, so that tests are quick
BOMB = 16 * LARGE
ROOM = 4 * LARGE  # that no reader of a bomb may take


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(shape, dtype="|u1", version=(1, 0), length=None):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + text


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(archives, "_LARGE", LARGE)


@pytest.fixture
def no_room():
    """Nothing of a bomb's size is allocated within the test's block."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


# ---- arrays come back as NumPy has them --------------------------------------------------------------------


@given(
    st.sampled_from(["<f8", ">f4", "|u1", "?", "<i2", "<U3", "<c16"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.booleans(),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_arrays_are_what_numpy_reads(dtype, shape, fortran, method):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    array = np.asfortranarray(array) if fortran else array
    with zipfile.ZipFile(io.BytesIO(), "w") as whole:
        file = whole.fp
        with zipfile.ZipFile(file, "w", method) as out:
            out.writestr("x.npy", npy(array))
        got = Archive(file).read("x")
    np.testing.assert_array_equal(got, array, strict=True)
    assert got.flags.writeable


def test_a_npy_file_and_headers_of_format_2(tmp_path):
    path = tmp_path / "x.npy"
    for content in (npy(np.arange(6.0).reshape(2, 3).T), header((3,), version=(2, 0)) + b"abc"):
        path.write_bytes(content)
        with open(path, "rb") as file:
            np.testing.assert_array_equal(read_npy(file), np.load(path), strict=True)


# ---- headers that lie --------------------------------------------------------------------------------------

WRONG = {
    "cut short": (npy(np.arange(4))[:-1], "bytes of data instead of 32"),
    "with something behind it": (npy(np.arange(4)) + b"x", "bytes of data instead of 32"),
    "of more than there is": (header((1 << 40, 1 << 30)) + b"abc", "bytes of data instead of"),
    "of a negative shape": (header((-2, -2)) + b"abcd", "a shape of"),
    "of a shape beyond the axes' size": (header((0, 1 << 70)), "."),
    "of nothing, very often": (header((1 << 70,), "|S0"), "."),
    "of Python objects": (header((1,), "|O") + b"x", "never unpickled"),
    "with a header of gigabytes": (header((1,), version=(2, 0), length=1 << 31) + b"x", "a header of 2,147,"),
    "of another format": (b"\x93NUMPY\x09\0" + bytes(100), "no .npy array of format 1 or 2"),
    "of another kind": (b"word", "no .npy array"),
    "of nothing": (b"", "begins with nothing"),
    "that ends in its header": (header((3,))[:9], "cut short"),
    "whose header is no header": (b"\x93NUMPY\x01\0\x04\0{1: ", "."),
    "whose header calls": (b"\x93NUMPY\x01\0\x14\0__import__('os').sep", "."),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_arrays_that_are_not_what_they_declare(tmp_path, content, words):
    path = tmp_path / "x"
    path.write_bytes(content)
    with open(path, "rb") as file, pytest.raises((DamagedError, TooLargeError), match=words):
        read_npy(file)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive(path, {"x": content}, method)
        with open(path, "rb") as file, pytest.raises((DamagedError, TooLargeError)):
            Archive(file).read("x")


def damaged_archives():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("x.npy", npy(np.zeros(1000)))
    lzma = out.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", npy(np.arange(1000.0)))
    packed = out.getvalue()
    encrypted, directory = bytearray(packed), packed.index(b"PK\x01\x02")
    encrypted[directory + 8] |= 1
    longer = bytearray(packed)
    longer[directory + 24 : directory + 28] = struct.pack("<I", 1 << 31)
    return {
        "lzma": lzma,
        "damaged lzma": lzma[:60] + b"\xff" * 30 + lzma[90:],
        "damaged deflate": packed[:100] + b"\xff" * 40 + packed[140:],
        "encrypted": bytes(encrypted),
        "a false size": bytes(longer),
        "cut short": packed[:-30],
        "only its beginning": b"PK\x03\x04",
    }


@pytest.mark.parametrize("name", damaged_archives())
def test_damaged_archives(tmp_path, name):
    path = tmp_path / "x"
    path.write_bytes(damaged_archives()[name])
    with open(path, "rb") as file, pytest.raises(DamagedError) as caught:
        Archive(file).read("x")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^path must name"):
        fastvi.load(path)


@given(st.integers(0, 700), st.integers(0, 255))
def test_any_byte_may_be_wrong(index, value):
    """The array that was written, or DamagedError, or TooLargeError; no other exception."""
    array, out = np.arange(20.0), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", npy(array))
    content = bytearray(out.getvalue())
    content[index % len(content)] = value
    try:
        found = Archive(io.BytesIO(bytes(content)))
        assert "x" not in found.names or found.read("x").tobytes() == array.tobytes()
    except (DamagedError, TooLargeError):
        pass


# ---- bombs -------------------------------------------------------------------------------------------------


def test_what_fits_in_no_memory_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "free_memory", lambda: 1000)
    path = tmp_path / "x"
    path.write_bytes(npy(np.zeros(126)))
    with (
        open(path, "rb") as file,
        pytest.raises(TooLargeError, match="1,008 bytes and 1,000 are free; cut it"),
    ):
        read_npy(file)
    path.write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 1001) + bytes(1001))
    with pytest.raises(ValueError, match=r"^path must name a file that fits in memory.*1,001 bytes"):
        load_idx(path)
    MODEL.save(path)
    with pytest.raises(ValueError, match=r"^path must name a file that fits in memory"):
        fastvi.load(path)


def test_the_system_tells_its_free_memory():
    assert 1 << 20 < archives.free_memory() < 1 << 62


@pytest.mark.usefixtures("small")
def test_a_member_that_nobody_asks_for_is_not_unpacked(tmp_path, no_room):
    path = tmp_path / "data.npz"
    archive(path, {"x": npy(np.arange(3)), "bomb": header((BOMB,)) + bytes(BOMB)})
    before = no_room()
    with open(path, "rb") as file:
        assert Archive(file).read("x").tolist() == [0, 1, 2]
    assert no_room() < before + ROOM


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["weights", "extra", "fastvi_class", "fastvi_made"])
def test_models_that_are_bombs(tmp_path, name, no_room):
    path = tmp_path / "model.npz"
    MODEL.save(path)
    with zipfile.ZipFile(path) as file:
        members = {entry.removesuffix(".npy"): file.read(entry) for entry in file.namelist()}
    bomb = header((BOMB // 8, 1), "<f8") + bytes(BOMB)
    archive(path, {**members, name: bomb})
    del bomb
    tracemalloc.reset_peak()
    before = no_room()
    with pytest.raises(ValueError, match=r"^path must name a file that fits in memory.*unpack it if"):
        fastvi.load(path)
    assert no_room() < before + ROOM


@pytest.mark.usefixtures("small")
def test_gzip_bombs(tmp_path, no_room):
    path, zeros = tmp_path / "x.gz", bytes(BOMB)
    head = b"\0\0\x08\x01"
    cases = {
        b"": "unknown type 0x00",  # nothing but zeros
        head + struct.pack(">I", 5): "with trailing bytes: more than 13 bytes",
        head + struct.pack(">I", BOMB): "unpack it if that is what it should hold",
        head + struct.pack(">I", 0xFFFFFFFF): "packed ones cannot hold",
        b"\0\0\x08\x02" + struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF): "packed ones cannot hold",
    }
    for start, words in cases.items():
        path.write_bytes(gzip.compress(start + zeros, 9))
        tracemalloc.reset_peak()
        before = no_room()
        with pytest.raises(ValueError, match=words) as caught:
            load_idx(path)
        assert "\n" not in str(caught.value)
        assert no_room() < before + ROOM


def test_an_honest_file_that_packs_well_is_read(tmp_path):
    """Below what is called large any share will do: all pixels of an image may be 0."""
    path = archive(tmp_path / "x", {"x": npy(np.zeros(LARGE, np.uint8))})
    with open(path, "rb") as file:
        assert not Archive(file).read("x").any()
    assert os.stat(path).st_size < LARGE / archives._PACKED_SHARE
    raw = zlib.compress(bytes(LARGE), 9)
    assert archives._MOST_DEFLATED * len(raw) > LARGE


# ---- what is no regular file -------------------------------------------------------------------------------


def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (fastvi.load, load_idx):
        with pytest.raises(ValueError, match=r"^path must name a regular file, got .* a pipe or a device"):
            read(tmp_path / "pipe")
