"""Plan files: the shipped ones, times, and errors that name the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnbench import plans
from cnnbench.models import MODELS
from cnnbench.plans import Part, PlanFile, find_plan, folders, list_plans, read_plan, seconds
from cnnbench.spec import Section, UsageError
from cnnbench.variants import VARIANTS

EXAMPLE = "'bench/plans/quick.toml' is an example."
LEAST = 'description = "d"\n[[measure]]\nmodels = ["lenet"]\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90.0),
        ("8m30s", 510.0),
        ("1h", 3600.0),
        ("1h2m3s", 3723.0),
        ("250ms", 0.25),
        ("1.5m", 90.0),
        ("2m5ms", 120.005),
        ("90", 90.0),
        ("1.5", 1.5),
        ("500us", 0.0005),
        ("2min", 120.0),
        (" 8M 30 s ", 510.0),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "s", "-5s", "5 s s", "5d", "5s6", "1:30", "1e3s", "auto", "0", "0s", "0m0s", "9" * 400]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        seconds(text)
    assert str(caught.value) == f"'{text}' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h."


def test_the_shipped_plans_are_these() -> None:
    assert set(list_plans()) == {"quick", "full", "smoke"}


@pytest.mark.parametrize("name", ["quick", "full", "smoke"])
def test_a_shipped_plan_names_what_there_is(name: str) -> None:
    plan = find_plan(name)
    assert plan.description
    assert plan.timeout is None or seconds(plan.timeout) > 0
    assert plan.budget == "auto" or seconds(plan.budget) > 0
    for section in plan.sections():
        assert set(section.models) <= set(MODELS)
        assert set(section.variants) <= {*VARIANTS, "all"}


def test_quick_covers_all_and_compiles_the_three_best_known() -> None:
    everything, compiled, larger = find_plan("quick").sections()
    assert everything == Section(models=tuple(MODELS), variants=("eager", "channels_last"))
    assert len(everything.models) == 17
    best_known = ("lenet", "resnet18", "mobilenet_v2")
    assert compiled == Section(models=best_known, variants=("eager", "channels_last", "amp", "compile"))
    assert larger == Section(models=best_known, variants=("eager", "channels_last", "amp"), batch_sizes=(8,))


def test_what_a_plan_leaves_out_has_these_values(tmp_path: Path) -> None:
    assert read_plan(written(tmp_path, LEAST)) == PlanFile(
        description="d",
        measure=(Part(models=("lenet",), variants=("eager", "channels_last"), batch_sizes=(1,), tasks=("infer",)),),
        budget="60s",
        timeout=None,
        device="cpu",
        accuracy=None,
        weights="none",
        input_shape=None,
        reference=None,
        threads=None,
        seed=0,
    )


def test_everything_that_a_plan_may_say(tmp_path: Path) -> None:
    text = """
        description = "d"
        budget = "auto"
        timeout = "3m"
        device = "all"
        accuracy = "digits"
        weights = "pretrained"
        input_shape = [3, 64, 48]
        reference = "lenet/amp"
        threads = 2
        seed = 5
        [[measure]]
        models = ["lenet", "builtin"]
        variants = ["all"]
        batch_sizes = [8, 1]
        tasks = ["train", "infer"]
        [[measure]]
        models = ["timm:x"]
    """
    plan = find_plan(str(written(tmp_path, text)))
    assert plan == PlanFile(
        description="d",
        measure=(
            Part(models=("lenet", "builtin"), variants=("all",), batch_sizes=(8, 1), tasks=("train", "infer")),
            Part(models=("timm:x",)),
        ),
        budget="auto",
        timeout="3m",
        device="all",
        accuracy="digits",
        weights="pretrained",
        input_shape=(3, 64, 48),
        reference="lenet/amp",
        threads=2,
        seed=5,
    )
    assert plan.sections() == (
        Section(models=("lenet", *MODELS), variants=("all",), batch_sizes=(8, 1), tasks=("train", "infer")),
        Section(models=("timm:x",)),
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[measure]]\nmodels = ['lenet']\n", "Object missing required field `description`"),
        ("description = 'd'\n", "Object missing required field `measure`"),
        ("description = 'd'\nmeasure = []\n", "Expected `array` of length >= 1 - at `$.measure`"),
        ("description = 'd'\n[[measure]]\n", "Object missing required field `models` - at `$.measure[0]`"),
        ("description = 'd'\n[[measure]]\nmodels = []\n", "Expected `array` of length >= 1 - at `$.measure[0].models`"),
        (f"threads = 0\n{LEAST}", "Expected `int` >= 1 - at `$.threads`"),
        (f"threads = '3'\n{LEAST}", "Expected `int | null`, got `str` - at `$.threads`"),
        (f"device = 'gpu'\n{LEAST}", "Invalid enum value 'gpu' - at `$.device`"),
        (f"{LEAST}tasks = ['infer', 'test']\n", "Invalid enum value 'test' - at `$.measure[0].tasks[1]`"),
        (f"{LEAST}batch_sizes = [1, 0]\n", "Expected `int` >= 1 - at `$.measure[0].batch_sizes[1]`"),
        (f"input_shape = [3, 8]\n{LEAST}", "Expected `array` of length 3, got 2 - at `$.input_shape`"),
        (f"input_shape = [3, 'a', 8]\n{LEAST}", "Expected `int`, got `str` - at `$.input_shape[1]`"),
        (f"budgt = '60s'\n{LEAST}", "Object contains unknown field `budgt`"),
        (f"{LEAST}batch_size = [8]\n", "Object contains unknown field `batch_size` - at `$.measure[0]`"),
        (
            f"budget = '60x'\n{LEAST}",
            "'60x' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h - at `$.budget`",
        ),
        (
            f"timeout = 'auto'\n{LEAST}",
            "'auto' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h - at `$.timeout`",
        ),
        ("description = d\n", "Invalid value (at line 1, column 15)"),
    ],
)
def test_a_bad_plan_is_refused_with_file_and_field(tmp_path: Path, text: str, fault: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert str(caught.value) == f"'{path}' is not a plan: {fault}. {EXAMPLE}"


def test_a_plan_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff")
    fault = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert str(caught.value) == f"'{path}' is not a plan: {fault}. {EXAMPLE}"


def test_an_unknown_plan_answers_with_close_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find_plan("quik")
    assert str(caught.value) == "Unknown plan 'quik'. Did you mean quick? You can also give the path of a plan file."


def test_the_repository_s_plans_stand_before_the_installed_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("a", "b")), (second, ("b", "c"))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.toml").touch()
    monkeypatch.setattr(plans, "folders", lambda: (first, second, tmp_path / "missing"))
    assert list_plans() == {"a": first / "a.toml", "b": first / "b.toml", "c": second / "c.toml"}


def test_plans_are_beside_the_package_or_in_it() -> None:
    package = Path(plans.__file__).parent
    assert folders() == (package.parent / "bench" / "plans", package / "_plans")
