"""Data files of the command line: every kind of file holds the same data, and says what is wrong with it."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import X, invoke, one_line
from PIL import Image

import fastvi
from fastvi.cli.files.data import read_array, read_rows
from fastvi.cli.group import cli
from fastvi.cli.options import DataFile

NAN = float("nan")


def rows_of(path, **options):
    wanted = {"key": None, "threshold": None, "limit": None, "observed": None, **options}
    return read_rows(path, **wanted)


def picture(path, array, mode=None):
    Image.fromarray(np.asarray(array, np.uint8), mode).save(path, format="PNG")


# ---- text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,1,1\n1,1,1\n", [[0, 1, 1], [1, 1, 1]]),
        ("0,1,1\n1,1,1", [[0, 1, 1], [1, 1, 1]]),
        ("a,b,c\n0,1,1\n", [[0, 1, 1]]),
        ('"left, upper","right"\r\n"0",1\r\n', [[0, 1]]),
        ("0\t1\t1\n1\t1\t1\n", [[0, 1, 1], [1, 1, 1]]),
        ("a b\tc,d\n0\t1\n", [[0, 1]]),
        ("\ufeffa,b\n2,-3\n", [[2, -3]]),
        ("7\n8\n", [[7], [8]]),
        ("0.5, 1e3\n\n-2,3\n", [[0.5, 1000], [-2, 3]]),
        (",1,NA\nna,nan,0\n", [[NAN, 1, NAN], [NAN, NAN, 0]]),
        ("True,false\nFALSE,true\n", [[1, 0], [0, 1]]),
        ("x,y\n,\n", [[NAN, NAN]]),
    ],
)
def test_tables_of_numbers(tmp_path, text, expected):
    (tmp_path / "data").write_bytes(text.encode())
    x = read_array(tmp_path / "data", None)
    np.testing.assert_array_equal(x, np.array(expected))
    assert x.dtype == np.array(expected).dtype


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0,1\n0,1,1\n", "3 fields in line 2, 2 before"),
        (b"0,1\n0,x\n", "'x' in line 2"),
        (b"a,1\n0,1\n", "'a' in line 1"),
        (b"a,b\nc,d\n", "'c' in line 2"),
        (b"a,b\n", "no such line"),
        (b"0,1\n\xff,1\n", "text that is no CSV: 'utf-8' codec"),
        (b'0,"1\n', "text that is no CSV: unexpected end of data"),
        (b"\x1f\x8b\x08 no gzip", "DATA must name a whole gzip file"),
        (b"\x89PNG\r\n\x1a\n", "DATA must be one of"),
        (b" \n", "which begins with 20 0a"),
    ],
)
def test_text_that_is_no_table_is_one_line(tmp_path, content, words):
    cases.network(2, 3).save(tmp_path / "m.npz")
    (tmp_path / "data").write_bytes(content)
    assert words in one_line(invoke("evaluate", tmp_path / "m.npz", tmp_path / "data"))


def test_text_that_fits_in_no_memory(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("0,1\n" * 100)
    monkeypatch.setattr("fastvi.core.archives.free_memory", lambda: 1999)
    with pytest.raises(Exception, match=r"DATA must fit in memory, got .*: it declares 2,000 bytes"):
        DataFile(str(tmp_path / "data"), None, None, None, None).read()


# ---- pictures --------------------------------------------------------------------------------------------


def test_a_folder_of_pictures_in_the_order_of_their_names(tmp_path):
    grey = np.array([[[0, 9, 200], [3, 4, 5]], [[255, 128, 127], [1, 2, 3]]], np.uint8)
    picture(tmp_path / "b.png", grey[1])
    picture(tmp_path / "a.PNG", grey[0])
    (tmp_path / "notes.txt").write_text("no picture")
    found = rows_of(tmp_path)
    np.testing.assert_array_equal(found.x, grey.reshape(2, 6))
    assert found.image_shape == (2, 3)
    binary = rows_of(tmp_path, threshold=128, limit=1)
    np.testing.assert_array_equal(binary.x, [[False, False, True, False, False, False]])


def test_coloured_pictures_are_grey(tmp_path):
    picture(tmp_path / "a.png", np.full((2, 2, 3), 77))
    np.testing.assert_array_equal(rows_of(tmp_path).x, np.full((1, 4), 77))


def test_pictures_of_two_sizes_transparent_deep_and_damaged_ones(tmp_path):
    def refused(words):
        assert words in one_line(invoke("evaluate", tmp_path / "m.npz", tmp_path / "p"))

    cases.network(4, 3).save(tmp_path / "m.npz")
    folder = tmp_path / "p"
    folder.mkdir()
    refused("DATA must be a file or a folder that holds .png pictures, got")
    picture(folder / "a.png", np.zeros((2, 2)))
    picture(folder / "b.png", np.zeros((2, 3)))
    refused("b.png' of 3 x 2, the first one 2 x 2")
    picture(folder / "b.png", np.zeros((2, 2, 4)))
    refused("without transparency, got")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(folder / "b.png")
    refused("of 8 bits")
    content = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(content[:-12])
    refused("DATA must hold whole .png pictures, got")
    (folder / "b.png").write_bytes(b"text")
    refused("DATA must hold whole .png pictures, got")


def test_pictures_without_pillow_or_memory(tmp_path, monkeypatch):
    cases.network(4, 3).save(tmp_path / "m.npz")
    folder = tmp_path / "p"
    folder.mkdir()
    for name in ("a", "b"):
        picture(folder / f"{name}.png", np.zeros((2, 2)))
    ask = "evaluate", tmp_path / "m.npz", folder
    with monkeypatch.context() as patched:
        patched.setattr("fastvi.cli.files.pictures.find_spec", lambda name: None)
        assert "needs Pillow: pip install 'fastvi[cli]'" in one_line(invoke(*ask))
    sizes = []

    def check_size(declared, packed):
        sizes.append(declared)

    monkeypatch.setattr("fastvi.cli.files.pictures.check_size", check_size)
    assert invoke(*ask).exit_code == 0
    assert max(sizes) == 8


# ---- shapes ----------------------------------------------------------------------------------------------


def test_images_keep_their_shape(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((3, 2, 5)))
    np.save(tmp_path / "rows.npy", np.zeros((3, 10)))
    assert rows_of(tmp_path / "images.npy").image_shape == (2, 5)
    assert rows_of(tmp_path / "images.npy").x.shape == (3, 10)
    assert rows_of(tmp_path / "rows.npy").image_shape is None


# ---- masks -----------------------------------------------------------------------------------------------

MASK = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 1]])


def values(result):
    assert result.exit_code == 0, result.output
    return [float(line.split(",")[1]) for line in result.stdout.splitlines()[1:]]


def by_sum(model, x, mask):
    """Log p of the observed pixels: the sum over all ways to fill in the others."""
    others = np.flatnonzero(~np.asarray(mask, bool))
    filled = []
    for bits in np.ndindex(*(2,) * len(others)):
        whole = np.array(x)
        whole[others] = bits
        filled.append(whole)
    return np.log(np.exp(fastvi.log_marginal(model, np.array(filled))).sum())


@pytest.mark.parametrize("kind", ["npy", "bool", "csv", "png", "one for all", "nan"])
def test_a_mask_of_any_kind(tmp_path, kind):
    model = cases.network(4, 3)
    model.save(tmp_path / "m.npz")
    mask, path, data = MASK, tmp_path / "mask", X.astype(float)
    if kind == "csv":
        path.write_text("\n".join(",".join(("False", "True")[v] for v in row) for row in MASK))
    elif kind == "png":
        path.mkdir()
        for n, row in enumerate(MASK):
            picture(path / f"{n}.png", row.reshape(2, 2))
    elif kind == "nan":
        data[MASK == 0], path = NAN, "auto"
    else:
        mask = np.broadcast_to(MASK[1], X.shape) if kind == "one for all" else MASK
        with path.open("wb") as file:
            np.save(file, {"bool": MASK.astype(bool), "one for all": MASK[1]}.get(kind, MASK))
    np.save(tmp_path / "d.npy", data)
    ask = "evaluate", tmp_path / "m.npz", tmp_path / "d.npy", "--csv", "-"
    expected = [by_sum(model, x, seen) for x, seen in zip(X, mask, strict=True)]
    # eight states, and at most four fillings: a few rounding errors each
    np.testing.assert_allclose(values(invoke(*ask, "--observed", path)), expected, rtol=1e-13)
    np.testing.assert_allclose(
        values(invoke(*ask, "--observed", path, "--limit", 2)), expected[:2], rtol=1e-13
    )


def test_a_mask_in_an_archive(tmp_path):
    cases.network(4, 3).save(tmp_path / "m.npz")
    np.savez(tmp_path / "d.npz", x=X, observed=MASK, other=X)
    np.savez(tmp_path / "others.npz", x=X, y=MASK)
    ask = "evaluate", tmp_path / "m.npz", tmp_path / "d.npz", "--csv", "-", "--observed"
    np.save(tmp_path / "mask.npy", MASK)
    assert values(invoke(*ask, tmp_path / "d.npz")) == values(invoke(*ask, tmp_path / "mask.npy"))
    line = one_line(invoke(*ask, tmp_path / "others.npz"))
    assert line.endswith("has several arrays and none is named observed: it holds x, y")


def test_where_a_mask_hides_it_nan_is_allowed(tmp_path):
    cases.network(4, 3).save(tmp_path / "m.npz")
    np.save(tmp_path / "mask.npy", MASK)
    data = X * 200.0
    data[MASK == 0] = NAN
    np.save(tmp_path / "d.npy", data)
    ask = ["evaluate", tmp_path / "m.npz", tmp_path / "d.npy", "--threshold", 128, "--csv", "-", "--observed"]
    assert values(invoke(*ask, tmp_path / "mask.npy")) == values(invoke(*ask, "auto"))
    data[0, 3] = NAN
    np.save(tmp_path / "d.npy", data)
    line = one_line(invoke(*ask, tmp_path / "mask.npy"))
    assert "no NaN for --threshold where a pixel is observed, got one at index (0, 3)" in line


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (MASK[:2], "must have the shape of the data, (3, 4) or (4,), got (2, 4)"),
        (MASK * 2, "--observed must hold 0 and 1 alone"),
        (np.full((3, 4), NAN), "--observed must hold 0 and 1 alone"),
        (MASK.astype(str), "--observed must hold 0 and 1 alone"),
        ([1, 0, 1], "must have the shape of the data, (3, 4) or (4,), got (3,)"),
    ],
)
def test_wrong_masks_are_one_line(tmp_path, mask, words):
    cases.network(4, 3).save(tmp_path / "m.npz")
    np.save(tmp_path / "d.npy", X)
    np.save(tmp_path / "mask.npy", mask)
    ask = ["evaluate", tmp_path / "m.npz", tmp_path / "d.npy", "--observed", tmp_path / "mask.npy"]
    assert words in one_line(invoke(*ask))
    assert "--nan-missing is --observed auto" in one_line(invoke(*ask, "--nan-missing"))


# ---- standard input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
def test_any_kind_of_file_comes_by_standard_input(tmp_path, kind):
    cases.network(4, 3).save(tmp_path / "m.npz")
    if kind == "csv":
        (tmp_path / "d").write_text("\n".join(",".join(map(str, row)) for row in X))
    else:
        with (tmp_path / "d").open("wb") as file:
            np.save(file, X) if kind == "npy" else np.savez(file, x=X)
    ask = ["evaluate", str(tmp_path / "m.npz"), "-", "--csv", "-"]
    result = CliRunner().invoke(cli, ask, input=(tmp_path / "d").read_bytes())
    assert values(result) == values(invoke("evaluate", tmp_path / "m.npz", tmp_path / "d", "--csv", "-"))


def test_a_file_named_dash_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases.network(4, 3).save("m.npz")
    with open("-", "wb") as file:
        np.save(file, X)
    assert len(values(invoke("evaluate", "m.npz", "./-", "--csv", "-"))) == 3
    ask = ["evaluate", "m.npz", "-", "--csv", "-"]
    assert len(values(CliRunner().invoke(cli, ask, input=b"0,1,1,0\n"))) == 1
    assert DataFile("./-", None, None, None, None).source()["data_file_sha256"]
    assert DataFile("-", None, None, None, None).source()["data_file_sha256"] is None
