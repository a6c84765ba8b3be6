"""Compiled code on disk: damage is seen, unlike processors keep apart, no bit depends on it."""

from __future__ import annotations

import ast
import io
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastvi
from fastvi.kernels import compiled_code, first_compilation

HERE = Path(__file__).parents[1]
pytestmark = pytest.mark.needs_jit

BEGIN = """
import logging, numpy, fastvi
logging.basicConfig(level=logging.INFO)
rng = numpy.random.default_rng(0)
"""
NOTICE = "INFO:fastvi:fastvi compiles its kernels once, which takes seconds; `fastvi warmup` does it ahead\n"
# few kernels are compiled for it
CALL = f"{BEGIN}print(fastvi.log_mean_exp(rng.normal(size=100)).hex())"
# one of its few kernels has register tiles
TILED = f"""{BEGIN}
from fastvi.engine.linalg.products import matmul
print(float(matmul(rng.normal(size=(5, 3)), rng.normal(size=(3, 7))).sum()).hex())
"""
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def run(folder, *command, cwd=None, **environment):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    ours.pop("FASTVI_REGISTER_TILES", None)
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env={**ours, "NUMBA_CACHE_DIR": str(folder), **environment},
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder that holds the code of CALL, and what CALL said as it was compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    return folder, run(folder, "-c", CALL)


@pytest.fixture
def copied(compiled, tmp_path):
    """The same in a folder of the test's own."""
    folder, first = compiled
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path, first


def empty(content):
    return b""


def cut(content):
    return content[: len(content) // 2]


def garbage(content):
    return b"\x80\x04garbage" * 100


def one_bit(content):
    at = 2 * len(content) // 3
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def longer(content):
    return content + b"\0"


DAMAGES = [empty, cut, garbage, one_bit, longer]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen(copied, damage, caplog):
    """Before anything of it is unpickled: in every file, whatever it holds."""
    caplog.set_level("INFO", "fastvi")
    tmp_path, _ = copied
    found = sorted(tmp_path.rglob("*.nbc"))
    assert found
    for path in found:
        base, stamp, _ = path.name.removesuffix(".nbc").rsplit(".", 2)
        files = compiled_code._SealedFiles(str(path.parent), base, stamp)
        files._path = lambda key, path=path: path  # that of its key, which Numba makes
        assert files.load("key") is not None
        path.write_bytes(damage(path.read_bytes()))
        assert files.load("key") is None
        assert caplog.messages[-1] == f"compiled code in {path} is damaged: it is compiled again"
    assert len(caplog.messages) == len(found)


def test_damaged_code_is_compiled_again_and_replaced(copied):
    """By a process that finds each file damaged in another way."""
    tmp_path, first = copied
    files = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.nbc"))}
    assert files
    for (path, content), spoil in zip(files.items(), itertools.cycle(DAMAGES), strict=False):
        path.write_bytes(spoil(content))
    again = run(tmp_path, "-c", CALL)
    assert again.stdout == first.stdout
    said = [line for line in again.stderr.splitlines() if "damaged" in line]
    assert len(said) == len(files)
    assert all(line.startswith("INFO:fastvi:compiled code in ") for line in said)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.nbc")}.keys() == files.keys()
    third = run(tmp_path, "-c", CALL)
    assert (first.stderr, third.stderr) == (NOTICE, "")
    assert third.stdout == first.stdout


def test_another_kernels_file_is_damage_too(copied):
    """A sound file at another's name: it is not what the name says."""
    tmp_path, first = copied
    files = sorted(tmp_path.rglob("*.nbc"))
    contents = [path.read_bytes() for path in files]
    for path, content in zip(files, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    again = run(tmp_path, "-c", CALL)
    assert again.stdout == first.stdout
    assert sum("damaged" in line for line in again.stderr.splitlines()) == len(files)


def test_files_that_cannot_be_written_or_read_cost_the_compilation(copied):
    tmp_path, first = copied
    for path in list(tmp_path.rglob("*.nbc")):
        path.unlink()
        path.mkdir()
    again = run(tmp_path, "-c", CALL)
    assert again.stdout == first.stdout
    assert "is compiled again" in again.stderr
    assert "is not kept on disk" in again.stderr


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("output", [Screen, io.StringIO])
@pytest.mark.parametrize("errors", [Screen, io.StringIO])
@pytest.mark.parametrize("process", ["MainProcess", "LokyProcess-1"])
def test_a_terminal_is_told_once_that_kernels_are_compiled(monkeypatch, caplog, output, errors, process):
    """Where both outputs are one, and not from workers; else the log is told."""
    caplog.set_level("INFO", "fastvi")
    monkeypatch.setattr(sys, "stdout", output())
    monkeypatch.setattr(sys, "stderr", errors())
    monkeypatch.setattr(multiprocessing.current_process(), "name", process)
    notice = first_compilation.Notice()
    notice()
    notice()
    told = output is errors is Screen and process == "MainProcess"
    assert sys.stdout.getvalue() == ""
    assert (sys.stderr.getvalue() + "".join(f"INFO:fastvi:{text}\n" for text in caplog.messages)) == (
        NOTICE.removeprefix("INFO:fastvi:") if told else NOTICE
    )


def test_functions_that_only_kernels_call_have_no_machine_code(copied):
    """Their files hold what kernels link, and later processes that call kernels never read them."""
    tmp_path, _ = copied
    code = (
        CALL
        + """
from fastvi.kernels.compiled_code import KernelCache
from fastvi.kernels.compiler import InlineLibrary
kernels = [cache for cache in KernelCache.made if any(cache.files())]
print(KernelCache.num_loaded, KernelCache.num_compiled, len(kernels))
"""
    )
    loaded, compiled, kept = map(int, run(tmp_path, "-c", code).stdout.split()[1:])
    assert 0 < loaded < kept
    assert compiled == 0


def test_a_kernel_made_new_beside_kept_ones(copied):
    """What Numba compiles after kernels were loaded: its runtime comes only then."""
    tmp_path, first = copied
    code = CALL + "\nprint(numpy.asarray(fastvi.jackknife_bound(rng.normal(size=(2, 100)))).tobytes().hex())"
    cold = run(tmp_path, "-c", code).stdout
    assert cold.splitlines()[0] == first.stdout.strip()
    assert run(tmp_path, "-c", code).stdout == cold


def test_code_of_older_sources_is_removed(copied):
    tmp_path, _ = copied
    names = sorted(path.name for path in tmp_path.rglob("*.nbc"))
    for path in list(tmp_path.rglob("*.nbc")):
        base, _, entry, _ = path.name.rsplit(".", 3)
        path.rename(path.with_name(f"{base}.{'0' * 16}.{entry}.nbc"))
    run(tmp_path, "-c", CALL)
    assert sorted(path.name for path in tmp_path.rglob("*.nbc")) == names


def test_code_belongs_to_all_sources_that_its_kernel_imports(tmp_path):
    shutil.copytree(Path(fastvi.__file__).parent, tmp_path / "fastvi")
    kernels = tmp_path / "fastvi" / "kernels"
    code = "import sys, pathlib\nfrom fastvi.kernels import compiled_code\n"
    code += "for name in sys.argv[1:]:\n print(compiled_code.stamp(pathlib.Path(name)))"
    files = [kernels / "cpu" / name for name in ("states/tile_sums.py", "weights/renyi.py")]
    stamps = [run(tmp_path, "-c", code, *files, cwd=tmp_path, PYTHONPATH="").stdout.split()]
    # both reach bits.py through files that they import
    for edited in ("cuda/log_sums.py", "bits.py", "cpu/states/tile_sums.py", "jit.py"):
        path = kernels / edited
        path.write_text(path.read_text() + "# another line")
        stamps.append(run(tmp_path, "-c", code, *files, cwd=tmp_path, PYTHONPATH="").stdout.split())
    sums, renyi = zip(*stamps, strict=True)
    assert [a == b for a, b in itertools.pairwise(sums)] == [True, False, False, False]
    assert [a == b for a, b in itertools.pairwise(renyi)] == [True, False, True, False]


def test_imports_of_kernels_can_be_followed():
    """The stamp of compiled code follows lines that import names from a module's file."""
    folder = Path(compiled_code.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("fastvi") for name in names), path
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                if node.module.startswith("fastvi"):
                    place = folder.parents[1].joinpath(*node.module.split("."))
                    if place.is_dir():  # of packages only modules and rooms are imported
                        assert all((place / alias.name).is_dir() for alias in node.names), path
                        continue
                    found = place.with_suffix(".py")
                    assert found in compiled_code._source(path)[1], (path, node.module)
                    assert found.is_file(), (path, node.module)


def test_unlike_hosts_share_a_folder(tmp_path):
    """One target, other shapes: as hosts with and without AVX-512 that compile for "generic" had them.

    At once and one after the other: none loads the other's code. 105 products are added in another order at
    most, to a sum of their size: 105 roundings of 1.1e-16.
    """
    names = ("avx512", "generic")
    with ThreadPoolExecutor(len(names)) as threads:
        calls = [
            threads.submit(run, tmp_path, "-c", TILED, FASTVI_REGISTER_TILES=name, **GENERIC)
            for name in names
        ]
        first = [float.fromhex(call.result().stdout.strip()) for call in calls]
    for name, value in zip(names, first, strict=True):
        later = run(tmp_path, "-c", TILED, FASTVI_REGISTER_TILES=name, **GENERIC)
        assert float.fromhex(later.stdout.strip()) == value
        assert later.stderr == ""
        assert value == pytest.approx(first[0], rel=2e-14)
    kept = Counter(path.name.rsplit(".", 2)[0] for path in tmp_path.rglob("*.nbc"))  # name, source's stamp
    assert set(kept.values()) == {len(names)}


SHAPES = [
    (GENERIC, "generic"),
    ({"NUMBA_CPU_FEATURES": "+sse2"}, "generic"),
    ({"NUMBA_CPU_NAME": "skylake", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, "avx2"),
    ({"NUMBA_CPU_NAME": "znver1", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, "znver1"),
    ({"NUMBA_CPU_FEATURES": "+avx2,+fma,+avx512f"}, "avx512"),
    ({"NUMBA_CPU_FEATURES": "+avx2,-avx512f"}, "avx2"),
    ({"NUMBA_ENABLE_AVX": "0"}, "generic"),
    ({"FASTVI_REGISTER_TILES": "avx512", **GENERIC}, "avx512"),
    ({"FASTVI_REGISTER_TILES": "other", **GENERIC}, "avx512"),
    ({"FASTVI_REGISTER_TILES": "other", "NUMBA_CPU_FEATURES": "+avx512f"}, "avx2"),
    ({"FASTVI_REGISTER_TILES": "usual", **GENERIC}, "generic"),
    ({"FASTVI_REGISTER_TILES": "16x1x8,16x1x8,8x1x8", **GENERIC}, "avx512"),
]


def test_shapes_follow_what_numba_compiles_for(tmp_path):
    """The first as the module is imported, the others as Numba reads its variables again."""
    code = f"""
import os
from numba.core import config
from fastvi.kernels import host
print(host.TILES[{SHAPES[0][1]!r}] == host.CHOSEN)
for environment, expected in {SHAPES[1:]!r}:
    os.environ.update(environment)
    config.reload_config()
    print(host.TILES[expected] == host._chosen())
    for name in environment:
        del os.environ[name]
"""
    found = run(tmp_path, "-c", code, **SHAPES[0][0]).stdout.split()
    assert dict(zip(map(str, SHAPES), found, strict=True)) == dict.fromkeys(map(str, SHAPES), "True")


def test_unknown_shapes_are_refused(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(tmp_path, "-c", "import fastvi.kernels.jit", FASTVI_REGISTER_TILES="wide")
    allowed = "avx512, avx2, znver1, generic, other, usual"
    shapes = "three shapes 8 numbers wide like 6x2x4,8x1x8,6x2x4"
    expected = f"ValueError: FASTVI_REGISTER_TILES must be one of {allowed}, or {shapes}, got 'wide'"
    assert caught.value.stderr.splitlines()[-1] == expected


# prints, for each kernel as it is compiled, the functions that it does not hold inlined
LINKED = """
import json, sys
from numba.core import codegen
added, linked = codegen.JITCPUCodegen._add_module, {}
def add(self, module):
    for function in module.functions:
        if not function.is_declaration and function.linkage.name == "linkonce_odr":
            if not function.name.startswith("NRT_"):  # reference counts: no numbers
                linked.setdefault(module.name, []).append(function.name)
    return added(self, module)
codegen.JITCPUCodegen._add_module = add
sys.path.insert(0, sys.argv[1])
import digests
cold = digests.digests()
# loops around a user's function are compiled in each process anew
print(json.dumps([cold, {name: found for name, found in linked.items() if "<locals>" not in name}]))
"""


def test_the_process_that_compiles_has_the_bits_of_all_later_ones(tmp_path):
    """Every model and question, by kernels just compiled and by the same kernels from the disk; and why it
    is so: no kernel is linked to another's code.
    """
    cold, linked = json.loads(run(tmp_path, "-W", "ignore", "-c", LINKED, str(HERE)).stdout)
    assert linked == {}
    assert len(cold) > 200
    warm = json.loads(run(tmp_path, str(HERE / "digests.py"), FASTVI_NUM_THREADS="3").stdout)
    assert {name for name in cold if cold[name] != warm[name]} == set()
    if kept := os.environ.get("NUMBA_CACHE_DIR"):  # all tests after this one find it compiled
        shutil.copytree(tmp_path, kept, dirs_exist_ok=True)
