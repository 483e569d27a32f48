"""Run the command `cnnbench`: find the subcommand, import it only then, and turn errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

from cnnbench._version import __version__
from cnnbench.spec import EXIT_FAILED, EXIT_INTERRUPTED

# Every subcommand with its module in `cnnbench.cli.commands` and its line in the help. The help imports no module.
_COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "list": ("list_", "List the models, variants, datasets, plans or quantities."),
        "describe": ("describe", "Show a model's source, layers, counts and what its tutorial prints."),
        "compare": ("compare", "Measure models and variants side by side."),
        "run": ("run", "Measure a named plan, such as 'quick' or 'full'."),
        "train": ("train", "Train a model and save a checkpoint."),
        "evaluate": ("evaluate", "Test a checkpoint."),
        "predict": ("predict", "Predict the classes of images."),
        "show": ("show", "Draw images of datasets, models and trainings."),
        "reproduce": ("reproduce", "Measure every figure that the tutorials print."),
        "expect": ("expect", "Compare counts, compilation and short trainings exactly with a committed file."),
        "diff": ("diff", "Show what changed between two runs, without a verdict."),
        "data": ("data", "List, verify, fetch and import datasets."),
        "report": ("report", "Rebuild reports from records, without measuring."),
        "gate": ("gate", "Check in CI whether a change makes a model slower."),
        "doctor": ("doctor", "Show the machine: threads, limits, versions, native variants."),
        "selftest": ("selftest", "Prove on this machine that cnnbench measures correctly."),
    }
)


class _Lazy(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cnnbench.cli.commands.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Checked here, because this error suggests the closest commands.
        if args and args[0] not in _COMMANDS:
            from cnnbench.spec import unknown_name

            raise click.UsageError(str(unknown_name("command", args[0], _COMMANDS)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="cnnbench")
def cli() -> None:
    """Benchmark and compare PyTorch image classifiers: which model, on which device, with which settings?

    \b
    Examples:
      cnnbench list models
      cnnbench describe lenet
      cnnbench compare lenet vgg16 mobilenet_v2
      cnnbench compare resnet18 --variants all --batch-size 1,8
      cnnbench run quick
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a cell failed, 2 wrong input, 3 something missing, 130 interrupted."""
    sys.exit(exit_code(arguments))


def exit_code(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; write an error to standard error in one line."""
    from cnnbench.spec import CnnbenchError

    # Outside its standalone mode, click raises errors instead of ending the process.
    try:
        result = cli.main(args=arguments, prog_name="cnnbench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CnnbenchError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does. Redirect what the interpreter still flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return result if isinstance(result, int) else 0
