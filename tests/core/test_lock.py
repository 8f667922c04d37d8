from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forking import forked

from multirecall.engine.bundle.lock import LOCK, WriterLock
from multirecall.errors import BundleError

HOLD = (
    "import sys; from pathlib import Path; from multirecall.engine.bundle.lock import WriterLock\n"
    "lock = WriterLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


def test_one_writer_in_a_process(tmp_path: Path) -> None:
    with WriterLock(tmp_path) as lock:
        assert lock.held
        with pytest.raises(BundleError, match="is being written by another engine of this process"):
            WriterLock(tmp_path)
    assert not lock.held
    lock.release()
    WriterLock(tmp_path).release()


def test_other_process_is_named_and_its_death_releases(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(BundleError, match=rf"is being written by process {child.pid} on .*\(since 20"):
            WriterLock(tmp_path)
        child.kill()
        child.wait(timeout=60)
    WriterLock(tmp_path).release()


def test_forked_child_neither_holds_nor_prolongs(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    wait, go = os.pipe()
    tell, told = os.pipe()

    def look_and_wait() -> None:
        os.close(go)
        lock.release()  # as the end of an inherited engine would
        os.write(told, b"y" if lock.held else b"n")
        os.read(wait, 1)  # ends with the parent's end of the pipe

    child = forked(look_and_wait)
    assert os.read(tell, 1) == b"n"
    assert lock.held
    with pytest.raises(BundleError, match="is being written"):
        WriterLock(tmp_path)
    lock.release()
    WriterLock(tmp_path).release()  # while the child still lives
    for descriptor in (wait, go, tell, told):
        os.close(descriptor)
    assert os.waitpid(child, 0)[1] == 0


def test_unreadable_signature_and_unusable_place(tmp_path: Path) -> None:
    with WriterLock(tmp_path):
        (tmp_path / LOCK).write_text("[]")
        with pytest.raises(BundleError, match="is being written by another engine; close"):
            WriterLock(tmp_path)
    with pytest.raises(BundleError, match="cannot be locked \\(No such file"):
        WriterLock(tmp_path / "nowhere")
    (tmp_path / "taken" / LOCK).mkdir(parents=True)
    with pytest.raises(BundleError, match="cannot be locked \\(Is a directory"):
        WriterLock(tmp_path / "taken")


def test_a_lock_that_nobody_has_any_more_is_released(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    del lock
    WriterLock(tmp_path).release()


def test_another_thread_may_release_it(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert not lock.held
    WriterLock(tmp_path).release()


def test_a_holder_that_cannot_sign_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("multirecall.engine.bundle.lock.os.pwrite", full)
        with pytest.raises(BundleError, match="cannot be locked \\(No space left on device\\); check the disk"):
            WriterLock(tmp_path)
    WriterLock(tmp_path).release()


def test_who_asks_in_vain_leaves_the_signature(tmp_path: Path) -> None:
    with WriterLock(tmp_path):
        signed = (tmp_path / LOCK).read_text()
        for _ in range(3):
            with pytest.raises(BundleError, match="another engine of this process"):
                WriterLock(tmp_path)
        assert (tmp_path / LOCK).read_text() == signed
    assert (tmp_path / LOCK).read_text() == signed, "the file stays"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="cannot be locked \\(Too many levels of symbolic links"):
        WriterLock(tmp_path)
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be locked"):
        WriterLock(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
