"""What a user gets: the files of the wheel and of the sdist, what they say, and that both install and answer.

`tox -e package` runs this, once: it builds, and installs from an index. So its name is none that pytest
collects by itself. It needs a clone, where git knows which files are of the project.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

import naive
import pytest

ROOT = Path(__file__).parents[2]
# what is read or run in a checkout alone
NOT_IN_THE_WHEEL = ("fastvi/docs/", "fastvi/ARCHITECTURE.md", "fastvi/datasets/make_digits.py")
LICENCES = {"LICENSE", "fastvi/datasets/data/README.txt"}

WEIGHTS, BIAS, PRIOR, X = [[1.5, -2.0], [0.5, 3.0]], [0.25, -0.5], [1.0, -0.75], [1, 0]
ASK = f"""
import fastvi, numpy as np
model = fastvi.SigmoidBeliefNetwork(*map(np.array, ({WEIGHTS}, {BIAS}, {PRIOR})))
print(fastvi.__file__, fastvi.log_marginal(model, np.array({[X]}))[0])
"""


def run(*command, folder, status=0):
    """Run a command in a folder that holds no `fastvi` which Python would take for the installed one."""
    result = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def of_the_project():
    """Files of the checkout that git does not ignore, with their bytes."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", folder=ROOT)
    return {name: (ROOT / name).read_bytes() for name in listed.split("\0") if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_the_sdist_is_the_checkout(built):
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        found = {
            member.name.partition("/")[2]: archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }
    assert found.pop("PKG-INFO").startswith(b"Metadata-Version: ")
    expected = of_the_project()
    assert len(expected) > 500
    assert {name for name in found.keys() | expected if found.get(name) != expected.get(name)} == set()


def test_the_wheel_is_the_package_alone(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    about = {name.partition("/")[2] for name in found if ".dist-info/" in name}
    assert about == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", *(f"licenses/{name}" for name in LICENCES)
    }  # fmt: skip
    found = {name: content for name, content in found.items() if ".dist-info/" not in name}
    expected = {
        name: content
        for name, content in of_the_project().items()
        if name.startswith("fastvi/") and not name.startswith(NOT_IN_THE_WHEEL)
    }
    assert len(expected) > 200
    assert {name for name in found.keys() | expected if found.get(name) != expected.get(name)} == set()


def test_metadata(built):
    run(sys.executable, "-m", "twine", "check", "--strict", *built, folder=built[0].parent)
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = BytesParser().parsebytes(archive.read(name))
    assert metadata["Metadata-Version"] == "2.4"
    assert metadata["License-Expression"] == "MIT AND CC-BY-4.0"
    assert set(metadata.get_all("License-File")) == LICENCES
    core = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert {line.partition("<")[0].partition(">")[0] for line in core} == {"numba", "numpy", "scipy"}


def test_both_install_and_answer(built, tmp_path):
    """With the pip that Python brings. The first is the core alone, the second has the command line."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    programs = tmp_path / "venv" / "bin"
    truth = naive.sbn_log_marginal(WEIGHTS, BIAS, PRIOR, X)
    sdist, wheel = built
    for distribution, status, said in (
        (wheel, 2, "pip install 'fastvi[cli]'"),
        (f"{sdist}[cli]", 0, sdist.name.removeprefix("fastvi-").removesuffix(".tar.gz")),
    ):
        pip = programs / "python", "-m", "pip"
        run(*pip, "install", "--no-compile", distribution, folder=tmp_path)
        place, value = run(programs / "python", "-W", "error", "-c", ASK, folder=tmp_path).split()
        assert Path(place).is_relative_to(tmp_path / "venv")
        assert abs(float(value) - truth) < 1e-14  # a sum over four states: some units in the last place
        assert said in run(programs / "fastvi", "info", folder=tmp_path, status=status)
        run(*pip, "uninstall", "--yes", "fastvi", folder=tmp_path)
        assert not Path(place).parent.exists()
