"""Files written whole: what is replaced or written into, whose rights it has, what killed writers leave.

No test goes near the machine's own devices: pipes and a device of its own lie in the test's folder.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fastvi.core.files import check_writable, descriptor, open_regular, write_whole

WORDS = b"all of it"


def put(file):
    file.write(WORDS)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def own_null(folder):
    """A null device of the test's own, or None where the system makes none."""
    path = folder / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with open(path, "wb") as file:  # a folder may be mounted without devices
            file.write(b"x")
    except OSError:
        return None
    return path


# ---- regular files ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_rights_of_the_umask(tmp_path):
    write_whole(tmp_path / "new", put)
    assert (tmp_path / "new").read_bytes() == WORDS
    assert mode(tmp_path / "new") == 0o640


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("rights", [0o600, 0o640, 0o664, 0o777])
def test_an_existing_file_keeps_its_rights(tmp_path, rights):
    path, seen = tmp_path / "old", []
    path.write_bytes(b"old")
    path.chmod(rights)

    def look(file):
        seen.append(os.fstat(file.fileno()).st_mode & 0o777)
        put(file)

    write_whole(path, look)
    assert path.read_bytes() == WORDS
    assert mode(path) == rights
    assert seen == [rights]  # a private file is never readable by others while it is made


def owned_by_another(path, monkeypatch):
    """An existing file, as it would be if another user had made it."""
    path.write_bytes(b"old")
    path.chmod(0o664)
    found = os.stat(path)
    other = os.stat_result((*found[:4], found.st_uid + 1, found.st_gid + 1, *found[6:]))
    monkeypatch.setattr("fastvi.core.files._stat", lambda text: other)
    return other


def test_an_existing_file_keeps_its_owner(tmp_path, monkeypatch):
    other, calls = owned_by_another(tmp_path / "old", monkeypatch), []
    monkeypatch.setattr(os, "fchown", lambda fd, *ids: calls.append(ids))  # only root gives files away
    write_whole(tmp_path / "old", put)
    assert calls == [(other.st_uid, other.st_gid)]
    assert mode(tmp_path / "old") == 0o664


def test_where_the_group_cannot_be_kept_its_rights_go(tmp_path, monkeypatch):
    path, calls = tmp_path / "old", []
    other = owned_by_another(path, monkeypatch)

    def refuse(fd, uid, gid):
        calls.append((uid, gid))
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "fchown", refuse)
    write_whole(path, put)
    assert calls == [(other.st_uid, other.st_gid), (-1, other.st_gid)]
    assert mode(path) == 0o604


def test_symbolic_links_are_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    link.symlink_to("folder/target")
    for _ in range(2):  # a link to nothing, and to a file
        write_whole(link, put)
        assert link.is_symlink()
        assert target.read_bytes() == WORDS
    assert os.listdir(tmp_path / "folder") == ["target"]


def test_names_as_long_as_systems_allow(tmp_path):
    name = "x" * 251 + ".npz"
    write_whole(tmp_path / name, put)
    write_whole(tmp_path / name, put)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "old"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old"]


def test_a_file_larger_than_the_system_allows_leaves_the_old_one(tmp_path):
    """As a full disk does: the system refuses what is written."""
    code = (
        "import resource, sys\n"
        "from fastvi.core.files import write_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "try:\n    write_whole(sys.argv[1], lambda file: file.write(bytes(1 << 20)))\n"
        "except OSError as error:\n    print(error.strerror)\n"
    )
    path = tmp_path / "old"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == os.strerror(errno.EFBIG)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old"]


def test_several_writers_at_once_leave_one_whole_file(tmp_path):
    path, errors = tmp_path / "file", []
    contents = [bytes([65 + n]) * 100_000 for n in range(4)]

    def work(content):
        try:
            for _ in range(30):
                write_whole(path, lambda file: file.write(content))
                assert path.read_bytes() in contents
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["file"]


# ---- what killed writers leave ----------------------------------------------------------------------------


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from fastvi.core.files import write_whole\n"
        "def work(file):\n    file.write(b'half')\n    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_whole(sys.argv[1], work)\n"
    )
    path = tmp_path / "run [1]*.npz"
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".run [1]*.npz.")
    others = [".run [1]*.npz.notes.tmp", ".run 2.npz.0123456789abcdef.tmp", "x.0123456789abcdef.tmp"]
    for other in others:
        (tmp_path / other).touch()
    write_whole(path, put)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, path.name])


def test_what_another_writer_is_at_is_left_alone(tmp_path):
    path = tmp_path / "file"

    def slow(file):
        write_whole(path, lambda inner: inner.write(b"first"))
        assert len(os.listdir(tmp_path)) == 2
        put(file)

    write_whole(path, slow)
    assert path.read_bytes() == WORDS
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_taken_for_one_left_behind_is_begun_again(tmp_path, monkeypatch):
    """It is new and another process locks it first."""
    from fastvi.core import files

    lock, taken = files._lock, []

    def late(file, *, wait=True):
        if not taken:
            taken.append(file.name)
            os.unlink(file.name)
        return lock(file, wait=wait)

    monkeypatch.setattr(files, "_lock", late)
    write_whole(tmp_path / "file", put)
    assert (tmp_path / "file").read_bytes() == WORDS
    assert os.listdir(tmp_path) == ["file"]


def test_without_locks_nothing_is_taken_to_be_left_behind(tmp_path, monkeypatch):
    from fastvi.core import files

    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(files.fcntl, "flock", none)
    left = tmp_path / ".file.0123456789abcdef.tmp"
    left.touch()
    write_whole(tmp_path / "file", put)
    assert sorted(os.listdir(tmp_path)) == [left.name, "file"]


# ---- what is no regular file ------------------------------------------------------------------------------


def test_a_pipe_is_written_into(tmp_path):
    pipe, link, got = tmp_path / "pipe", tmp_path / "link", []
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        check_writable(str(path), "path")
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
        reader.start()
        write_whole(path, put)
        reader.join()
        assert stat.S_ISFIFO(os.lstat(pipe).st_mode)
    assert got == [WORDS, WORDS]
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_device_is_written_into(tmp_path):
    path = own_null(tmp_path)
    if path is None:  # the pipe above takes the same way
        return
    check_writable(str(path), "path")
    write_whole(path, put)
    assert stat.S_ISCHR(os.lstat(path).st_mode)
    assert os.listdir(tmp_path) == ["null"]


def test_a_socket_and_a_directory_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for refuse in (lambda: write_whole("socket", put), lambda: check_writable("socket", "path")):
            with pytest.raises(ValueError, match=r"^path must name a regular file, a pipe or a character"):
                refuse()
        assert stat.S_ISSOCK(os.lstat("socket").st_mode)
    os.mkdir("folder")
    for refuse in (lambda: write_whole("folder", put), lambda: check_writable("folder", "path")):
        with pytest.raises(IsADirectoryError, match=r"^path must name a file, got the directory"):
            refuse()
    assert sorted(os.listdir()) == ["folder", "socket"]


OWN_DESCRIPTORS = Path("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd")


@pytest.mark.parametrize("flags", [os.O_APPEND, 0])
def test_a_name_of_an_open_descriptor_is_that_descriptor(tmp_path, flags):
    """What /dev/stdout is to `>> log` and `> log`: what was written before stays, in its order."""
    log, link = tmp_path / "log", tmp_path / "link"
    log.write_bytes(b"before ")
    fd = os.open(log, os.O_WRONLY | flags)
    try:
        os.lseek(fd, 0, os.SEEK_END)
        link.symlink_to(OWN_DESCRIPTORS / str(fd))
        for name in (str(OWN_DESCRIPTORS / str(fd)), os.path.realpath(OWN_DESCRIPTORS) + f"/{fd}", str(link)):
            assert descriptor(name) == fd
            check_writable(name, "path")
            write_whole(name, put)
        os.write(fd, b" after")
    finally:
        os.close(fd)
    assert log.read_bytes() == b"before " + 3 * WORDS + b" after"
    assert sorted(os.listdir(tmp_path)) == ["link", "log"]
    assert descriptor(str(log)) is None
    with pytest.raises(PermissionError, match=r"^path must name a file that may be written"):
        check_writable(str(link), "path")  # it is closed
    with open(log, "rb") as reading, pytest.raises(PermissionError):
        check_writable(str(OWN_DESCRIPTORS / str(reading.fileno())), "path")


# ---- checks -----------------------------------------------------------------------------------------------


def test_checks_are_in_the_words_of_the_caller(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in ("none", "file"):
        with pytest.raises(FileNotFoundError, match=r"^--csv must name a file in a folder that exists, got"):
            check_writable(str(tmp_path / folder / "x"), "--csv")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^checkpoint must name a regular file, got"):
        check_writable(str(tmp_path / "pipe"), "checkpoint", regular=True)
    access = os.access  # root may do anything
    monkeypatch.setattr(os, "access", lambda path, how: path != str(tmp_path / "file") and access(path, how))
    with pytest.raises(PermissionError, match=r"^OUT must name a file that may be written, got"):
        check_writable(str(tmp_path / "file"), "OUT")
    check_writable(str(tmp_path / "new"), "OUT")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^path must name a regular file, got .* a pipe or a device"):
        open_regular(str(tmp_path / "pipe"), "path")
    with pytest.raises(IsADirectoryError, match=r"^path must name a file, got the directory"):
        open_regular(str(tmp_path), "path")
    (tmp_path / "file").write_bytes(WORDS)
    with open_regular(str(tmp_path / "file"), "path") as file:
        assert file.read() == WORDS
