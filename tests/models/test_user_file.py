"""Files of users: what they import, and what they give instead of a factory."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnbench.models import find_model
from cnnbench.spec import UsageError

LATE = """
from torch import nn


class Net(nn.Module):
    def forward(self, images):
        from pooling_of_this_test import mean  # a neighbour, imported where it is needed

        return mean(images)
"""


def write(folder: Path, **files: str) -> None:
    """Write Python files by their names; `__` stands for a folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_neighbour_is_found_by_an_import_in_a_pass(tmp_path: Path) -> None:
    write(tmp_path, net=LATE, pooling_of_this_test="def mean(images):\n    return images.mean((2, 3))\n")
    model = find_model(f"{tmp_path}/net.py:Net").build()
    assert model(torch.ones(1, 3, 4, 4)).tolist() == [[1.0, 1.0, 1.0]]


def test_file_of_a_package_imports_relatively_and_by_its_name(tmp_path: Path) -> None:
    net = (
        "from torch import nn\nfrom ..sizes import WIDTH\nfrom .sizes import DEPTH\n"
        "from outer_of_test.sizes import WIDTH as SAME\n\n\ndef build():\n    return nn.Linear(WIDTH + SAME, DEPTH)\n"
    )
    write(
        tmp_path,
        outer_of_test__inner__net=net,
        outer_of_test__inner__sizes="DEPTH = 2\n",
        outer_of_test__sizes="WIDTH = 4\n",
    )
    for folder in ("outer_of_test", "outer_of_test/inner"):
        (tmp_path / folder / "__init__.py").write_text("")
    model = find_model(f"{tmp_path}/outer_of_test/inner/net.py:build").build()
    assert isinstance(model, nn.Linear)
    assert (model.in_features, model.out_features) == (8, 2)


def test_model_instead_of_a_factory_is_copied_for_each_build(tmp_path: Path) -> None:
    write(tmp_path, net="from torch import nn\n\nnet = nn.Linear(3, 2)\n")
    spec = find_model(f"{tmp_path}/net.py:net")
    one, other = spec.build(), spec.build()
    assert one is not other
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_file_that_reads_the_command_line_says_where_to_put_that(tmp_path: Path) -> None:
    write(tmp_path, net="import argparse\n\nargparse.ArgumentParser().parse_args(['--width', '8'])\n\nnet = None\n")
    with pytest.raises(UsageError) as caught:
        find_model(f"{tmp_path}/net.py:net")
    assert str(caught.value) == (
        f"{tmp_path}/net.py, line 3: importing the file ended the program (SystemExit: 2). If it reads the command "
        "line, move that under: if __name__ == '__main__':"
    )


def test_name_of_a_file_need_not_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.py")
    path.write_text("from torch import nn\n\nnet = nn.Linear(3, 2)\n")
    assert isinstance(find_model(f"{path}:net").build(), nn.Linear)
