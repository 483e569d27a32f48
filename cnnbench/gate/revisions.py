"""Find git revisions, check them out side by side in temporary folders, and compare their requirements."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnnbench.spec import MissingError, UsageError

# Digits of a commit hash that are shown.
SHORT = 8

# Files in the root of a repository that pin its packages.
LOCKS = ("requirements*.txt", "requirements*.lock", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")

PROJECT = "pyproject.toml"

# Variables that git sets for its hooks. A gate that runs in a hook would be led to another repository or index by them.
_OWN_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One side of a gate: its name, its commit (None: the working tree as it is), and the folder that holds it."""

    name: str
    commit: str | None
    folder: Path

    @property
    def tag(self) -> str:
        """Return the short text that tells the revision from others."""
        return "working-tree" if self.commit is None else self.commit[:SHORT]


def top_of(folder: Path) -> Path:
    """Return the root of the repository around `folder`.

    Raises:
        UsageError: the folder is in no repository.
        MissingError: git is not installed.
    """
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode != 0:
        raise UsageError(
            f"{folder} is not in a git repository, so there are no revisions to compare. Change to a repository, or "
            "give two model files: FILE.py:FACTORY."
        )
    return Path(done.stdout.strip())


@contextmanager
def check_out_revisions(top: Path, base: str, head: str | None) -> Iterator[tuple[Revision, Revision]]:
    """Yield `base` and `head` (None: the working tree) of the repository `top` in folders, and remove these afterwards.

    Hooks of the repository do not run.

    Raises:
        UsageError: there is no such revision.
    """
    # Both names are looked up first, so that a misspelt one leaves no worktree behind.
    commits = [_commit(top, base), None if head is None else _commit(top, head)]

    with tempfile.TemporaryDirectory(prefix="cnnbench-gate-", ignore_cleanup_errors=True) as scratch:
        folders = [Path(scratch) / side for side in ("base", "head")]
        try:
            for commit, folder in zip(commits, folders, strict=True):
                if commit is not None:
                    _check_out(top, commit, folder)

            # The working tree is measured where it is, with all changes that are not committed.
            one, two = (
                Revision(
                    name="the working tree" if commit is None else f"{given} ({commit[:SHORT]})",
                    commit=commit,
                    folder=top if commit is None else folder,
                )
                for given, commit, folder in zip((base, head), commits, folders, strict=True)
            )
            yield one, two
        finally:
            for folder in folders:
                if folder.exists():
                    # Forced twice, because a worktree that is half made is locked.
                    _git(top, "worktree", "remove", "--force", "--force", str(folder))
                    shutil.rmtree(folder, ignore_errors=True)


def _commit(top: Path, given: str) -> str:
    done = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}")
    if done.returncode != 0:
        raise UsageError(
            f"'{given}' is not a revision of {top}. Give an existing branch, tag or commit. In CI, fetch it first: run "
            "'git fetch origin main' and give origin/main, or check out the whole history (fetch-depth: 0)."
        )
    return done.stdout.strip()


def _check_out(top: Path, commit: str, folder: Path) -> None:
    # No hook may run here, for example one that installs packages after each checkout.
    done = _git(top, "-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--detach", str(folder), commit)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise UsageError(f"git cannot check out {commit[:SHORT]} beside {top}: {said[-1]}")


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`, in a session of its own so that Ctrl-C does not stop it while it tidies up."""
    environment = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}

    # The caller judges the return code, because it knows what the user asked for.
    try:
        return subprocess.run(
            ["git", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingError("A gate between revisions needs git, which is not installed: 'apt install git'.") from error


def differing_requirements(base: Path, head: Path) -> tuple[str, ...]:
    """Return the files whose requirements differ between the repositories in two folders.

    In pyproject.toml only the dependencies and the Python version count. In requirements files comments do not count.
    """
    names = sorted({found.name for root in (base, head) for pattern in LOCKS for found in root.glob(pattern)})
    differing = [name for name in names if _pins(base / name) != _pins(head / name)]
    if _wants(base / PROJECT) != _wants(head / PROJECT):
        differing.append(PROJECT)
    return tuple(differing)


def _pins(file: Path) -> Sequence[str] | None:
    """Return the lines of a file without comments and empty lines, None if there is no such file."""
    if not file.is_file():
        return None
    lines = (line.partition(" #")[0].strip() for line in file.read_text(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _wants(file: Path) -> object:
    """Return the requirements in a pyproject.toml, or its text if it cannot be parsed.

    A file that does not exist has none.
    """
    text = file.read_text(errors="replace") if file.is_file() else ""
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return text

    # Older projects that use Poetry have their dependencies in its table instead of in `project`.
    project = whole.get("project", {})
    poetry = whole.get("tool", {}).get("poetry", {})
    return (
        *(project.get(key) for key in ("requires-python", "dependencies", "optional-dependencies")),
        whole.get("dependency-groups"),
        *(poetry.get(key) for key in ("dependencies", "group")),
    )
