"""Files are written whole or not at all, and a failed write is an error that names the place and the reason."""

from pathlib import Path

import pytest

from cnnbench.atomic_write import replace_file, replacing, write_error, writing_into
from cnnbench.spec import CnnbenchError


def test_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    replace_file(path, b"one")
    path.chmod(0o640)
    replace_file(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o640)
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def fail_halfway(path: Path, error: BaseException) -> None:
    with replacing(path) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        fail_halfway(path, error)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_errors_name_the_place_and_the_reason(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    assert str(write_error(Path("a.csv"), full)) == "Cannot write 'a.csv': No space left on device."
    assert str(write_error(Path("a.csv"), OSError("gone"), "Try again.")) == "Cannot write 'a.csv': gone. Try again."
    with pytest.raises(CnnbenchError) as caught, writing_into(tmp_path / "out"):
        raise full
    assert str(caught.value) == (
        f"Cannot write into '{tmp_path / 'out'}': No space left on device. The records are not touched."
    )
    assert (tmp_path / "out").is_dir()
