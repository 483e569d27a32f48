"""Run experiments one after the other, yield each figure at once, and report the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cnnbench.selftest import EXPERIMENTS, Experiment, Figure, Form, Found, Load, NotRunHere, Setting
from cnnbench.selftest.load_burst import bursts
from cnnbench.spec import CnnbenchError


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One figure that is to be measured."""

    experiment: Experiment
    part: str
    form: Form
    load: Load

    @property
    def label(self) -> str:
        """Return the experiment, the part and the load, for progress lines."""
        return " ".join(filter(None, (self.experiment.id, self.part, "with bursts" if self.load == "burst" else "")))

    def is_of(self, figure: Figure) -> bool:
        """Return whether `figure` is the result of this task."""
        asked = (self.experiment.id, self.part, self.form, self.load)
        return asked == (figure.id, figure.part, figure.form, figure.load)


# Called with what is being done, and with the seconds that it and all later tasks may still take.
OnProgress = Callable[[str, float], None]


def tasks(names: Sequence[str], form: Form, *, burst: bool) -> tuple[Task, ...]:
    """Return the tasks of the experiments `names` (none: all), in the order of the proof.

    With `burst`, experiments that are marked with `loads` are done once more under load bursts.
    """
    chosen = [e for e in EXPERIMENTS.values() if not names or e.id in names]
    loads: tuple[Load, ...] = ("idle", "burst")
    return tuple(
        Task(experiment=e, part=part, form=form, load=load)
        for e in chosen
        for load, part in product(loads if burst and e.loads else loads[:1], e.parts_of(form))
    )


def run(
    asked: Sequence[Task], completed: Collection[Figure], *, seed: int, on_progress: OnProgress
) -> Iterator[Figure]:
    """Yield the figure of each task in `asked` whose figure is not in `completed`."""
    ahead = [task for task in asked if not any(task.is_of(figure) for figure in completed)]
    for at, task in enumerate(ahead):
        own_s = task.experiment.expected_s(task.form)
        later_s = sum(t.experiment.expected_s(t.form) for t in ahead[at + 1 :])
        yield _figure(task, seed, _progress_of(task, on_progress, own_s=own_s, later_s=later_s))


def _progress_of(task: Task, on_progress: OnProgress, *, own_s: float, later_s: float) -> OnProgress:
    """Return the function that reports the progress of `task`.

    Its time left follows from the share that is done; before some is done, from the expected time.
    """
    begin = time.monotonic()

    def on_message(text: str, share: float) -> None:
        spent = time.monotonic() - begin
        # As long as the share grows evenly, the whole task takes `spent / share`.
        left = spent / share - spent if share > 0 else max(0.0, own_s - spent)
        on_progress(f"{task.label}: {text}" if text else task.label, left + later_s)

    return on_message


def _figure(task: Task, seed: int, on_progress: OnProgress) -> Figure:
    on_progress("", 0.0)
    begin = time.monotonic()

    # An experiment that raises is timed as well: its figure says how long it took to fail.
    setting = Setting(form=task.form, load=task.load, seed=seed, on_progress=on_progress)
    found = _run_experiment(task, setting)

    return Figure(
        id=task.experiment.id,
        part=task.part,
        form=task.form,
        load=task.load,
        found=found,
        seconds=round(time.monotonic() - begin, 3),
    )


def _run_experiment(task: Task, setting: Setting) -> Found:
    """Return what the experiment found.

    If the machine lacks something, the result says what and does not count. An experiment that raises has failed.
    """
    try:
        if task.load == "burst":
            with bursts(setting.seed):
                return task.experiment.load()(task.part, setting)
        return task.experiment.load()(task.part, setting)
    except NotRunHere as why:
        return Found(measured=task.experiment.title, holds=None, reason=str(why))
    except Exception as error:  # one experiment that breaks must not cost the figures of the others
        # If closing a worker fails after Ctrl-C, another error comes out, which must not become a figure.
        if _is_interruption(error):
            raise KeyboardInterrupt from error
        said = str(error) if isinstance(error, CnnbenchError) else f"{type(error).__name__}: {error}"
        return Found(measured=task.experiment.title, bound=task.experiment.holds_if, holds=False, reason=said)


def _is_interruption(error: BaseException) -> bool:
    """Return whether `error` was raised while an interruption was handled, for example by closing a worker."""
    before = error.__context__
    return isinstance(error, KeyboardInterrupt) or (before is not None and _is_interruption(before))
