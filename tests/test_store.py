"""Appending, loading, torn lines, bad lines, newer formats and full disks."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.record import FORMAT_VERSION, Record, RecordedWarning, to_json
from cnnbench.spec import Budget, CnnbenchError, UsageError
from cnnbench.store import Loaded, Store, finished_records, load
from tests.factories import case, once, record, run

ONE = record(case("a"), once("params", 0.1 + 0.2))
TWO = record(case("b"), once("params", 2.0))


def test_what_is_appended_is_loaded(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs" / "first")
    for item in (run(), ONE, TWO, run(wall_s=3.0)):
        store.append(item)
    expected = Loaded(items=(run(), ONE, TWO, run(wall_s=3.0)))
    assert store.load() == expected
    assert load(tmp_path / "runs" / "first") == expected
    assert load(tmp_path / "runs" / "first" / "records.jsonl") == expected
    assert expected.records == (ONE, TWO)


def test_a_store_without_file_is_empty(tmp_path: Path) -> None:
    assert Store(tmp_path).load() == Loaded(items=())


@pytest.mark.parametrize("torn", [b'{"record":{"ca', b"\xff\xfe", b"\0\0\0\0\n", to_json(TWO)[:-1]])
def test_torn_last_line_is_dropped_and_cut_before_append(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(to_json(ONE) + b"\n" + torn)
    warning = RecordedWarning(
        code="torn_line",
        fact=f"'{file}', line 2, the last one, is incomplete: the run was interrupted while writing it",
        advice="It is left out; resume the run to measure its case again.",
    )
    assert load(tmp_path) == Loaded(items=(ONE,), warnings=(warning,))
    Store(tmp_path).append(TWO)
    assert file.read_bytes() == to_json(ONE) + b"\n" + to_json(TWO) + b"\n"


def test_a_torn_only_line_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"run":')
    Store(tmp_path).append(ONE)
    assert file.read_bytes() == to_json(ONE) + b"\n"


def test_a_whole_last_line_without_line_end_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(to_json(ONE))
    assert load(file) == Loaded(items=(ONE,))
    Store(file).append(TWO)
    assert load(file) == Loaded(items=(ONE, TWO))


def test_lines_longer_than_a_read_are_found_whole(tmp_path: Path) -> None:
    long = replace(ONE, notes=("x" * 300_000,))
    store = Store(tmp_path)
    store.append(long)
    with store.file.open("ab") as file:
        file.write(to_json(long)[:-5])
    store.append(TWO)
    assert load(tmp_path) == Loaded(items=(long, TWO))


def test_a_bad_line_is_named_with_its_field(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    bad = to_json(ONE).replace(b'"batch_size":1', b'"batch_size":"one"')
    file.write_bytes(to_json(TWO) + b"\n\n" + bad + b"\n" + to_json(TWO) + b"\n")
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value) == (
        f"'{file}', line 3: not a record: Expected `int`, got `str` - at `$.record.case.batch_size`. "
        "Restore or delete the line."
    )


def test_a_bad_last_line_that_is_json_is_an_error_not_a_torn_one(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(to_json(ONE) + b"\n{}\n")
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value) == (
        f"'{file}', line 2: not a record: Neither a record nor a run - at `$`. Restore or delete the line."
    )


def test_no_json_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"model,variant\na,b\n")
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value) == (
        f"'{file}', line 1: not a record: JSON is malformed: invalid character (byte 0). Restore or delete the line."
    )


@pytest.mark.parametrize("shape", ["record", "fragment"])
def test_another_format_is_refused(tmp_path: Path, shape: str) -> None:
    line = to_json(replace(ONE, format=7)) if shape == "record" else b'{"record":{"format":7,"cell":1}}'
    file = tmp_path / "records.jsonl"
    file.write_bytes(line + b"\n")
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value) == (
        f"'{file}', line 1: record format 7, written by a newer cnnbench; this one reads format {FORMAT_VERSION}. "
        "Upgrade: `pip install --upgrade cnnbench`."
    )


def test_a_missing_run_says_what_writes_one(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(UsageError) as caught:
        load(gone)
    assert str(caught.value) == (
        f"'{gone}' does not exist. Give a run folder or a records.jsonl; "
        f"`cnnbench compare MODEL... --output {gone}` writes one."
    )
    with pytest.raises(UsageError, match=r"has no records\.jsonl\. Give a run folder"):
        load(tmp_path)


def test_an_empty_file_holds_no_record(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.touch()
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"'{file}' holds no record yet. Resume its run with `--output {tmp_path}`."


def test_a_full_disk_keeps_whole_lines_and_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.append(ONE)
    before, write = store.file.read_bytes(), os.write

    def full(handle: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:-50])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CnnbenchError) as caught:
        store.append(TWO)
    assert str(caught.value) == (
        f"Cannot write '{store.file}': No space left on device. Measured and kept so far: 1 record is in that file. "
        f"Make room or choose another folder, then resume with `--output {tmp_path}`."
    )
    assert store.file.read_bytes() == before


def test_the_last_record_of_a_case_and_round_wins() -> None:
    again: Record = replace(ONE, status="failed", error="boom")
    later = replace(ONE, round=1)
    longer = replace(again, case=replace(ONE.case, budget=Budget(total_s=1.0, timeout_s=2.0)))
    found = finished_records([run(), ONE, later, TWO, longer])
    one, two = ONE.case.identity(), TWO.case.identity()
    assert found == {(one, 0): longer, (one, 1): later, (two, 0): TWO}
    assert list(found) == [(one, 0), (one, 1), (two, 0)]


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    with store.only_writer():
        with pytest.raises(UsageError) as caught, store.only_writer():
            pass
        store.append(ONE)  # its own
    assert str(caught.value) == (
        f"Another run writes into '{tmp_path / 'out'}' now. Wait until it has ended, or use another --output."
    )
    with store.only_writer():
        assert store.load().records == (ONE,)


def test_objects_in_objects_are_told_by_their_line(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_bytes(b'{"other":' + b"[" * 100_000 + b"\n" + to_json(ONE) + b"\n")
    with pytest.raises(UsageError, match=r"records\.jsonl', line 1: .*[Tt]oo many objects lie in each other"):
        Store(tmp_path).load()
