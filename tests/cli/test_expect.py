"""`cnnbench expect` with pretended workers: what is looked at, what differs, what is accepted, and how it is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from cnnbench import machine
from cnnbench.cli.commands import expect
from cnnbench.cli.main import exit_code
from cnnbench.expectation_file import Compiled, Trained, load, save
from cnnbench.models import MODELS
from cnnbench.orchestrator.invariants import CheckOptions
from cnnbench.record import Record
from tests.factories import COMPILE, LAYERS, a_layer, an_expectation, case, counted, once, record

COST = {"operator_calls": 7.0, "weight_bytes": 1600.0, "trainable_params": 300.0}
PLAIN = an_expectation()
DEEP = msgspec.structs.replace(
    PLAIN,
    compiled=Compiled(graphs=1, graph_breaks=0, recompiles=0),
    trained=Trained(dataset="digits", epochs=3, seed=0, correct=340, tested=359),
)
FILE = Path("bench/expected/torch-2.15.toml")

Ran = tuple[int, str, str]


class World:
    """Models that all have the same two layers, but for what a test changes; `asked` is what was looked at."""

    def __init__(self) -> None:
        self.asked: list[CheckOptions] = []
        self.params: dict[str, int] = {}
        self.correct = 340
        self.broken: tuple[str, ...] = ()
        self.no_compiler = False

    def examine(self, asked: Sequence[CheckOptions], on_progress: Callable[[object], None]) -> Iterator[Record]:
        self.asked += asked
        for one in asked:
            yield from self.look(one)

    def look(self, one: CheckOptions) -> Iterator[Record]:
        if one.model in self.broken:
            yield record(case(one.model, task="complexity"), status="failed", error="It fails.")
            return
        params = self.params.get(one.model, 400)
        made = counted(one.model, params=params, macs=3000, shape=one.input_shape or (3, 4, 4), cost=COST)
        yield replace(made, layers=LAYERS)
        if one.compiled:
            made_as = case(one.model, COMPILE, role="numerics")
            facts = [once("graphs", 1), once("graph_breaks", 0), once("recompiles", 0)]
            if self.no_compiler:
                yield record(made_as, status="unsupported", error="install g++")
            else:
                yield record(made_as, *facts)
        if one.epochs:
            trained = case(one.model, task="accuracy", dataset="digits", seed=one.seed)
            yield record(trained, once("correct", self.correct), once("tested", 359))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(expect, "examine", made.examine)
    monkeypatch.setattr(machine, "version_of", lambda _: "2.15.0+cpu")
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Ran]:
    def run(line: str) -> Ran:
        code = exit_code(line.split())
        return (code, *capsys.readouterr())

    return run


Cli = Callable[[str], Ran]


def test_all_in_the_file_is_as_expected(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP, "mlp": PLAIN})
    assert cli("expect") == (0, "All as expected with torch 2.15: 2 counted, 1 compiled, 1 trained.\n", "")
    assert world.asked == [
        CheckOptions(model="lenet", compiled=True, dataset="digits", epochs=3, seed=0),
        CheckOptions(model="mlp"),
    ]
    assert cli("expect --format csv") == (0, "model,layer,quantity,expected,found\n", "")
    assert cli("expect --format json") == (0, "[]\n", "")


def test_networks_may_be_named_and_only_counted(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP, "mlp": PLAIN})
    assert cli("expect lenet --counts-only") == (0, "All as expected with torch 2.15: 1 counted.\n", "")
    assert world.asked == [CheckOptions(model="lenet")]


def test_a_difference_fails_and_is_named(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP, "mlp": PLAIN})
    world.params["mlp"], world.correct = 1401, 330
    code, out, err = cli("expect")
    assert code == 1
    assert out.splitlines() == [
        "model    layer    quantity      expected    found",
        "-------  -------  ----------  ----------  -------",
        "lenet    -        correct            340      330",
        "mlp      -        params             400    1,401",
        "",
        "2 differences in 2 of 2 models, torch 2.15. The number of correct test images may differ by 2.",
    ]
    assert err == "If this is intended, accept it with:\n  cnnbench expect lenet mlp --accept\n"
    code, out, _ = cli("expect --format json")
    assert (code, json.loads(out)[1]) == (
        1,
        {"model": "mlp", "layer": None, "quantity": "params", "expected": 400, "found": 1401},
    )
    assert cli("expect mlp --format csv")[1] == "model,layer,quantity,expected,found\nmlp,,params,400,1401\n"
    assert cli("expect mlp --format markdown")[1].splitlines() == [
        "| model | layer | quantity | expected | found |",
        "| --- | --- | --- | ---: | ---: |",
        "| mlp | - | params | 400 | 1,401 |",
        "",
        "1 difference in 1 of 1 model, torch 2.15.",
    ]


def test_a_network_that_cannot_be_counted_differs(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": PLAIN})
    world.broken = ("lenet",)
    code, out, err = cli("expect --format csv")
    assert (code, out) == (
        1,
        "model,layer,quantity,expected,found\nlenet,,counts,ok,failed: It fails.\n",
    )
    assert err.startswith("     failed  lenet eager cpu complexity batch 1  It fails.\n")


def test_where_nothing_compiles_that_is_said_and_no_difference(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP})
    world.no_compiler = True
    assert cli("expect") == (
        0,
        "All as expected with torch 2.15: 1 counted, 1 trained.\n",
        "Note: lenet was not compiled: install g++\n",
    )


def test_expect_for_other_torch_prints_command_to_make_file(world: World, cli: Cli) -> None:
    save(Path("bench/expected/torch-2.14.toml"), "2.14", {"lenet": PLAIN})
    assert cli("expect") == (
        3,
        "",
        "Error: There are no expectations for torch 2.15: 'bench/expected/torch-2.15.toml' does not exist or has no "
        "entries. If the models are correct, create it with:\n  cnnbench expect --accept\n",
    )
    assert cli("expect --file bench/expected/torch-2.14.toml") == (
        3,
        "",
        "Error: 'bench/expected/torch-2.14.toml' is for torch 2.14, but torch 2.15 is installed. Use another --file, "
        "or a folder with one file for each torch: cnnbench expect --file bench/expected --accept\n",
    )
    assert world.asked == []


def test_expect_without_entry_prints_command_to_add_it(world: World, cli: Cli) -> None:
    save(Path("mine/torch-2.15.toml"), "2.15", {"lenet": PLAIN})
    assert cli("expect lenet mlp perceptron --file mine") == (
        3,
        "",
        "Error: 'mine/torch-2.15.toml' has no entry for mlp and perceptron. If the current counts are correct, add "
        "them with:\n  cnnbench expect mlp perceptron --file mine --accept\n",
    )
    assert world.asked == []


def test_torch_must_be_there(world: World, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version_of", lambda _: "missing")
    assert cli("expect") == (
        3,
        "",
        "Error: torch is not installed. Run 'pip install torch torchvision', then 'cnnbench doctor'.\n",
    )


NEW = "400 parameters, 3,000 MACs, 2 layers"


def test_a_first_file_has_all_built_ins_and_some_of_them_deeply(world: World, cli: Cli) -> None:
    code, out, err = cli("expect --accept --format csv")
    assert (code, err) == (0, f"{len(MODELS)} entries written: {FILE}\n")
    assert out.splitlines()[1] == f'perceptron,,entry,,"{NEW}"'
    torch, entries = load(FILE)
    assert (torch, list(entries)) == ("2.15", list(MODELS))
    assert {name for name, entry in entries.items() if entry.compiled} == set(expect.DEEP)
    assert {name: entry.trained.epochs for name, entry in entries.items() if entry.trained} == dict(expect.DEEP)
    assert cli("expect") == (0, "All as expected with torch 2.15: 17 counted, 3 compiled, 3 trained.\n", "")


def test_a_new_torch_gets_what_the_newest_other_one_has(world: World, cli: Cli) -> None:
    own = msgspec.structs.replace(PLAIN, input_shape=(1, 8, 8))
    Path("net.py").write_text("def make(): ...\n", encoding="utf-8")
    save(Path("mine/torch-2.13.toml"), "2.13", {"vgg16": PLAIN})
    save(Path("mine/torch-2.14.toml"), "2.14", {"mlp": DEEP, "net.py:make": own})
    assert cli("expect --accept --file mine --format csv")[0] == 0
    assert world.asked == [
        CheckOptions(model="mlp", compiled=True, dataset="digits", epochs=3, seed=0),
        CheckOptions(model="net.py:make", input_shape=(1, 8, 8)),
    ]
    assert load(Path("mine/torch-2.15.toml")) == ("2.15", {"mlp": DEEP, "net.py:make": own})


def test_accepting_writes_chosen_entry_and_prints_changes(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP, "mlp": PLAIN})
    before = FILE.read_text(encoding="utf-8")
    world.params = {"lenet": 401, "mlp": 402}
    code, out, err = cli("expect mlp --accept --format csv")
    assert (code, out) == (0, "model,layer,quantity,expected,found\nmlp,,params,400,402\n")
    assert err == f"1 entry written: {FILE}\n"
    assert FILE.read_text(encoding="utf-8") == before.replace(
        "[models.mlp]\ninput_shape = [3, 4, 4]\nparams = 400", "[models.mlp]\ninput_shape = [3, 4, 4]\nparams = 402"
    )


def test_accepting_what_is_expected_writes_nothing(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP})
    before = FILE.stat().st_mtime_ns
    world.correct = 341
    assert cli("expect --accept") == (
        0,
        "All as expected with torch 2.15: 1 counted, 1 compiled, 1 trained.\n",
        f"Nothing was written: {FILE}\n",
    )
    assert FILE.stat().st_mtime_ns == before


def test_accepting_counts_only_keeps_the_rest(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP})
    world.params["lenet"] = 500
    assert cli("expect --accept --counts-only")[0] == 0
    assert load(FILE)[1] == {"lenet": msgspec.structs.replace(DEEP, params=500)}


def test_a_network_that_fails_is_not_accepted(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": PLAIN, "mlp": PLAIN})
    world.params, world.broken = {"mlp": 402}, ("lenet", "perceptron")
    code, out, err = cli("expect lenet mlp perceptron --accept --format csv")
    assert code == 1
    assert out.splitlines()[1:] == [
        "lenet,,counts,ok,failed: It fails.",
        "mlp,,params,400,402",
        "perceptron,,counts,ok,failed: It fails.",
    ]
    assert err.endswith(f"1 entry written: {FILE}\nNot accepted, because a part failed: lenet, perceptron.\n")
    assert load(FILE)[1] == {"lenet": PLAIN, "mlp": an_expectation(params=402)}


def test_a_training_may_be_made_longer(world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": DEEP})
    code, out, _ = cli("expect lenet --with trained --epochs 10 --accept --format csv")
    assert (code, out) == (0, "model,layer,quantity,expected,found\nlenet,,epochs,3,10\n")
    assert world.asked[0].epochs == 10
    assert cli("expect")[0] == 0
    assert world.asked[1].epochs == 10


def test_user_network_is_expected_with_its_input_and_parts(world: World, cli: Cli) -> None:
    Path("net.py").write_text("def make(): ...\n", encoding="utf-8")
    line = "expect ./net.py:make --input-shape 3x8x8 --with trained,compiled --file mine.toml --accept"
    assert cli(line)[0] == 0
    asked = CheckOptions(
        model="./net.py:make", input_shape=(3, 8, 8), compiled=True, dataset="digits", epochs=3, seed=0
    )
    assert world.asked == [asked]
    assert load(Path("mine.toml")) == (
        "2.15",
        {"./net.py:make": msgspec.structs.replace(DEEP, input_shape=(3, 8, 8))},
    )
    assert cli("expect --file mine.toml")[0] == 0
    assert world.asked == [asked, asked]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("expect lenett", "Unknown model 'lenett'. Did you mean lenet? "),
        ("expect lenet --with compiled", "--with changes what is expected. Use it with --accept."),
        ("expect lenet --epochs 2", "--epochs changes what is expected. Use it with --accept."),
        ("expect lenet --accept --epochs 2", "--epochs sets the length of a training. Use it with --with trained."),
        ("expect lenet --input-shape 3x8x8", "--input-shape changes what is expected. Use it with --accept."),
        (
            "expect lenet --accept --counts-only --with trained",
            "--counts-only leaves out what --with asks for (trained). Use only one of them.",
        ),
        (
            "expect lenet --accept --input-shape 3x8x8",
            "--input-shape is only for your own models, because a built-in has its own. Name your models.",
        ),
        (
            "expect --accept --input-shape 3x8x8",
            "--input-shape is only for your own models, because a built-in has its own. Name your models.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, said: str, world: World, cli: Cli) -> None:
    save(FILE, "2.15", {"lenet": PLAIN})
    code, out, err = cli(line)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {said}")
    assert world.asked == []


def test_a_layer_that_differs_is_named(world: World, cli: Cli) -> None:
    less = msgspec.structs.replace(
        PLAIN, layers=(a_layer("0", "Conv2d", (1, 8, 4, 4), params=90, macs=1800), LAYERS[1])
    )
    save(FILE, "2.15", {"lenet": less})
    assert cli("expect --format csv")[1] == (
        "model,layer,quantity,expected,found\nlenet,0,params,90,100\nlenet,0,macs,1800,2000\n"
    )
