"""Revisions of real repositories: found, checked out for a while, and what they require compared."""

from pathlib import Path

import pytest

from cnnbench.gate.revisions import check_out_revisions, differing_requirements, top_of
from cnnbench.spec import MissingError, UsageError
from tests.repositories import commit, git, repository


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", net="one = 1\n")


def test_the_root_is_found_from_a_folder_below(top: Path) -> None:
    (top / "deep" / "er").mkdir(parents=True)
    assert top_of(top / "deep" / "er") == top


def test_a_folder_outside_of_any_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        top_of(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not in a git repository, so there are no revisions to compare. Change to a repository, or give "
        "two model files: FILE.py:FACTORY."
    )


def test_without_git_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="A gate between revisions needs git, which is not installed"):
        top_of(tmp_path)


def test_two_revisions_lie_side_by_side_for_a_while(top: Path) -> None:
    first = git(top, "rev-parse", "HEAD")
    second = commit(top, net="one = 2\n")
    with check_out_revisions(top, "main~1", "main") as (base, head):
        assert (base.name, base.commit, base.tag) == (f"main~1 ({first[:8]})", first, first[:8])
        assert (head.name, head.commit, head.tag) == (f"main ({second[:8]})", second, second[:8])
        assert [(one.folder / "net.py").read_text() for one in (base, head)] == ["one = 1\n", "one = 2\n"]
        assert len(git(top, "worktree", "list").splitlines()) == 3
    assert not base.folder.parent.exists()
    assert len(git(top, "worktree", "list").splitlines()) == 1


def test_the_working_tree_is_taken_as_it_stands(top: Path) -> None:
    (top / "net.py").write_text("one = 3\n")
    with check_out_revisions(top, "HEAD", None) as (base, head):
        assert (base.folder / "net.py").read_text() == "one = 1\n"
        assert (head.name, head.commit, head.tag, head.folder) == ("the working tree", None, "working-tree", top)
    assert (top / "net.py").read_text() == "one = 3\n"


def test_one_revision_can_be_both_sides(top: Path) -> None:
    with check_out_revisions(top, "main", "HEAD") as (base, head):
        assert base.commit == head.commit
        assert base.folder != head.folder


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_whatever_happens(top: Path, error: type[BaseException]) -> None:
    seen: list[Path] = []

    def breaks() -> None:
        with check_out_revisions(top, "main", "main") as (base, _):
            (base.folder / "new.txt").write_text("made meanwhile")
            seen.append(base.folder)
            raise error

    with pytest.raises(error):
        breaks()
    assert not seen[0].parent.exists()
    assert len(git(top, "worktree", "list").splitlines()) == 1


def test_hooks_of_the_repository_do_not_run(top: Path) -> None:
    hook = top / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {top}/ran\n")
    hook.chmod(0o755)
    with check_out_revisions(top, "main", None):
        pass
    assert not (top / "ran").exists()


def test_variables_that_git_sets_for_hooks_do_not_lead_elsewhere(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository(tmp_path / "other", net="one = 9\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert top_of(top) == top
    with check_out_revisions(top, "main", None) as (base, _):
        assert (base.folder / "net.py").read_text() == "one = 1\n"


@pytest.mark.parametrize("sides", [("gone", None), ("main", "gone"), ("--all", None)])
def test_a_revision_that_is_not_there_is_refused(top: Path, sides: tuple[str, str | None]) -> None:
    name = next(one for one in sides if one not in ("main", None))
    with pytest.raises(UsageError) as caught, check_out_revisions(top, *sides):
        pass
    assert str(caught.value) == (
        f"'{name}' is not a revision of {top}. Give an existing branch, tag or commit. In CI, fetch it first: run "
        "'git fetch origin main' and give origin/main, or check out the whole history (fetch-depth: 0)."
    )
    assert len(git(top, "worktree", "list").splitlines()) == 1


PROJECT = '[project]\nname = "p"\ndependencies = ["torch>=2"]\n'


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        ({}, {}, ()),
        ({"requirements.txt": "torch\n"}, {"requirements.txt": "# why\ntorch  # so\n\n"}, ()),
        ({"requirements.txt": "torch\n"}, {"requirements.txt": "torch==2.11\n"}, ("requirements.txt",)),
        ({"requirements-dev.txt": "torch\n"}, {}, ("requirements-dev.txt",)),
        ({}, {"requirements.lock": "torch\n", "uv.lock": "x"}, ("requirements.lock", "uv.lock")),
        ({"pyproject.toml": PROJECT}, {"pyproject.toml": PROJECT + '[tool.x]\ny = "z"\n'}, ()),
        ({"pyproject.toml": '[tool.x]\ny = "z"\n'}, {}, ()),
        ({"pyproject.toml": PROJECT}, {"pyproject.toml": PROJECT.replace(">=2", ">=3")}, ("pyproject.toml",)),
        ({"pyproject.toml": PROJECT}, {"pyproject.toml": "[not toml"}, ("pyproject.toml",)),
        ({"poetry.lock": "a"}, {"poetry.lock": "b", "pyproject.toml": PROJECT}, ("poetry.lock", "pyproject.toml")),
    ],
)
def test_files_that_require_something_else(
    tmp_path: Path, base: dict[str, str], head: dict[str, str], expected: tuple[str, ...]
) -> None:
    for side, files in (("base", base), ("head", head)):
        (tmp_path / side).mkdir()
        for name, text in files.items():
            (tmp_path / side / name).write_text(text)
    assert differing_requirements(tmp_path / "base", tmp_path / "head") == expected
