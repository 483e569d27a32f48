"""`train` around its trainings, which only pretend: its files, what ends it early, and how to go on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.cli.main import exit_code
from cnnbench.record import Measurement, Record, Run
from cnnbench.spec import FEATURES_ALONE, CnnbenchError, Request, Training
from cnnbench.store import Store
from tests.factories import case, once, record


def trained(seed: int) -> Record:
    found = (
        Measurement(quantity="train_loss", samples=(1.5,)),
        Measurement(quantity="val_top1", samples=(0.5,)),
        Measurement(quantity="epoch_s", samples=(0.25,)),
        once("correct", 9.0),
        once("tested", 10.0),
        once("top1", 0.9),
    )
    return record(replace(case("lenet", task="accuracy", dataset="digits"), seed=seed), *found)


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pretend_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException | None], None]:
    """Return what lets `train` succeed with so many seeds and then end as told."""

    def use(count: int, ended: BaseException | None) -> None:
        def train_seeds(request: Request, *, seeds: int, **more: object) -> Iterator[Record]:
            for at in range(min(count, seeds)):
                yield trained(request.seed + at)
            if ended is not None:
                raise ended

        monkeypatch.setattr("cnnbench.cli.commands.train.train_seeds", train_seeds)

    return use


Pretend = Callable[[int, BaseException | None], None]


def call(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["cnnbench", *line.split()])
    return exit_code(line.split())


CURVES = "seed,epoch,train_loss,train_top1,val_loss,val_top1,epoch_s,train_img_per_s,data_share,learning_rate\n"
SEED_LINE = "         ok  lenet eager cpu accuracy batch 1  top-1 90.0 %\n"
PLACE = "Records, curves and checkpoints: results/mine\n"
RESUME = (
    "Continue with:\n  cnnbench train lenet --epochs 2 --timeout 90s --format csv "
    "--seed 6 --seeds 2 --resume -o results/mine\n"
)


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. Finished seeds and the training in progress are kept.\n"),
        (CnnbenchError("It broke."), 1, "Error: It broke.\n"),
    ],
)
def test_stopped_training_prints_command_for_remaining_seeds(
    ended: BaseException,
    code: int,
    said: str,
    pretend_after: Pretend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend_after(1, ended)
    line = "train lenet --timeout 1m30s --seeds 3 --seed=5 --epochs 2 --format csv -o results/mine"
    assert call(line, monkeypatch) == code
    assert capsys.readouterr().err == f"{SEED_LINE}{PLACE}{said}{RESUME}"
    assert Path("results/mine/curves.csv").read_text() == f"{CURVES}5,1,1.5,,,0.5,0.25,,,\n"
    pretend_after(9, None)
    assert call(RESUME.splitlines()[1].removeprefix("  cnnbench "), monkeypatch) == 0
    assert [r.case.seed for r in Store(Path("results/mine")).load().records] == [5, 6, 7]
    rows = "".join(f"{seed},1,1.5,,,0.5,0.25,,,\n" for seed in (5, 6, 7))
    assert Path("results/mine/curves.csv").read_text() == CURVES + rows


def test_an_interruption_before_the_first_seed_names_all(
    pretend_after: Pretend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_after(0, KeyboardInterrupt())
    assert call("train lenet --output mine", monkeypatch) == 130
    assert capsys.readouterr() == (
        "",
        "Interrupted. Finished seeds and the training in progress are kept.\n"
        "Continue with:\n  cnnbench train lenet --seed 0 --seeds 1 --resume -o mine\n",
    )


def test_a_training_is_the_latest_run_and_keeps_its_command(
    pretend_after: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_after(1, None)
    assert call("train lenet -o results/one", monkeypatch) == 0
    assert call("train lenet --seed 1 -o results/two", monkeypatch) == 0
    assert Path("results/latest").readlink() == Path("two")
    started = Store(Path("results/two")).load().items[0]
    assert isinstance(started, Run)
    assert started.command == "cnnbench train lenet --seed 1 -o results/two"


def test_unwritable_curves_give_error_and_keep_records(
    pretend_after: Pretend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_after(1, None)
    Path("mine/curves.csv").mkdir(parents=True)
    assert call("train lenet -o mine", monkeypatch) == 1
    assert capsys.readouterr().err == (
        f"{SEED_LINE}Records, curves and checkpoints: mine\n"
        "Error: Cannot write into 'mine': Is a directory. The records are not touched.\n"
    )
    assert len(Store(Path("mine")).load().records) == 1


def test_recipe_options_are_passed_on_and_named_in_resume_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, object]] = []

    def train_seeds(request: Request, *, training: Training, **_: object) -> Iterator[Record]:
        asked.append((request.recipe, training))
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr("cnnbench.cli.commands.train.train_seeds", train_seeds)
    options = "--recipe as-published --unfreeze 2 --unfrozen-lr 0.001 --cache-features --log-every 50"
    assert call(f"train lenet {options} --deterministic -o mine", monkeypatch) == 130
    changed = Training(unfrozen_epochs=2, unfrozen_rate=0.001, cache_features=True, log_every=50)
    assert asked == [("as-published", changed)]
    assert capsys.readouterr().err.endswith(
        f"Continue with:\n  cnnbench train lenet {options} --deterministic --seed 0 --seeds 1 --resume -o mine\n"
    )
    assert call("train lenet -o mine", monkeypatch) == 130
    assert asked[1] == ("tutorial", Training())


def test_features_once_in_another_precision_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train lenet --cache-features --variant amp -o mine", monkeypatch) == 2
    assert capsys.readouterr().err == f"Error: {FEATURES_ALONE}\n"
    assert not Path("mine").exists()


def test_records_within_epochs_are_a_file_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"step": (50.0, 93.0), "train_loss": (1.5, 1.0), "train_top1": (0.25, 0.5)}
    values |= {"val_loss": (1.25, 0.75), "val_top1": (0.375, 0.625)}
    found = tuple(Measurement(quantity=f"step_{name}", samples=samples) for name, samples in values.items())

    def train_seeds(request: Request, **_: object) -> Iterator[Record]:
        whole = trained(request.seed)
        yield replace(whole, measurements=(*whole.measurements, *found))

    monkeypatch.setattr("cnnbench.cli.commands.train.train_seeds", train_seeds)
    assert call("train lenet --log-every 50 -o mine", monkeypatch) == 0
    assert Path("mine/steps.csv").read_text() == (
        "seed,step,train_loss,train_top1,val_loss,val_top1\n0,50,1.5,0.25,1.25,0.375\n0,93,1.0,0.5,0.75,0.625\n"
    )


@pytest.mark.parametrize("options", ["--recipe quick", "--unfrozen-lr 0", "--unfreeze -1", "--log-every 0"])
def test_what_no_recipe_can_be_is_refused(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(f"train lenet {options}", monkeypatch) == 2
