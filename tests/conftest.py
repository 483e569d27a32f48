"""What holds for all tests: nothing is kept in the user's own folders, and it does not matter how they are started."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="write the files in tests/golden anew, to be read in a diff")


@pytest.fixture
def is_golden(request: pytest.FixtureRequest) -> Callable[[str, str], bool]:
    """Return whether a file in tests/golden holds exactly a text; with `--accept` it is written before."""

    def same(name: str, text: str) -> bool:
        if request.config.getoption("--accept"):
            (GOLDEN / name).write_text(text, encoding="utf-8")
        expected = (GOLDEN / name).read_text(encoding="utf-8")
        assert text == expected, f"{name} differs; if the new text is right: pytest tests/report --accept"
        return True

    return same


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the machine's ceilings in a folder of the tests: programs that tests start find them there too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def unaware_of_others() -> Iterator[None]:
    """Forget that pytest-xdist runs tests beside this one: checks would be refused, and benchmarks switched off."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Let programs that tests start be interrupted also where a shell started the tests with `&` and SIGINT ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
