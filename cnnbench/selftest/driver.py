"""Do experiments one after the other, hand over each figure as soon as there is one, and say how long it takes."""

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
    """One figure that is asked for."""

    experiment: Experiment
    part: str
    form: Form
    load: Load

    @property
    def label(self) -> str:
        """The experiment, the part and the load, for progress lines."""
        return " ".join(filter(None, (self.experiment.id, self.part, "with bursts" if self.load == "burst" else "")))

    def is_of(self, figure: Figure) -> bool:
        """Return whether `figure` is what this task gives."""
        asked = (self.experiment.id, self.part, self.form, self.load)
        return asked == (figure.id, figure.part, figure.form, figure.load)


# Hears what is done and how many seconds may still be to come.
OnProgress = Callable[[str, float], None]


def tasks(names: Sequence[str], form: Form, *, burst: bool) -> tuple[Task, ...]:
    """Return what `names` ask for in the order of the proof, all for none; with `burst` once more under load bursts."""
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
    """Yield the figure of every task that `completed` does not hold, in turn."""
    ahead = [task for task in asked if not any(task.is_of(figure) for figure in completed)]
    for at, task in enumerate(ahead):
        own_s = task.experiment.expected_s(task.form)
        later_s = sum(t.experiment.expected_s(t.form) for t in ahead[at + 1 :])
        yield _figure(task, seed, _progress_of(task, on_progress, own_s=own_s, later_s=later_s))


def _progress_of(task: Task, on_progress: OnProgress, *, own_s: float, later_s: float) -> OnProgress:
    """Return what tells how far `task` is; what is left of it follows from the share that is done, once some is."""
    begin = time.monotonic()

    def on_message(text: str, share: float) -> None:
        spent = time.monotonic() - begin
        left = spent / share - spent if share > 0 else max(0.0, own_s - spent)
        on_progress(f"{task.label}: {text}" if text else task.label, left + later_s)

    return on_message


def _figure(task: Task, seed: int, on_progress: OnProgress) -> Figure:
    on_progress("", 0.0)
    begin = time.monotonic()
    setting = Setting(form=task.form, load=task.load, seed=seed, on_progress=on_progress)
    found = _found(task, setting)
    return Figure(
        id=task.experiment.id,
        part=task.part,
        form=task.form,
        load=task.load,
        found=found,
        seconds=round(time.monotonic() - begin, 3),
    )


def _found(task: Task, setting: Setting) -> Found:
    """Return what the experiment found; one that cannot be done here is a figure too, and one that breaks failed."""
    try:
        if task.load == "burst":
            with bursts(setting.seed):
                return task.experiment.load()(task.part, setting)
        return task.experiment.load()(task.part, setting)
    except NotRunHere as why:
        return Found(measured=task.experiment.title, holds=None, reason=str(why))
    except Exception as error:  # one experiment that breaks must not cost the figures of the others
        if _interrupted(error):
            raise KeyboardInterrupt from error
        said = str(error) if isinstance(error, CnnbenchError) else f"{type(error).__name__}: {error}"
        return Found(measured=task.experiment.title, bound=task.experiment.holds_if, holds=False, reason=said)


def _interrupted(error: BaseException) -> bool:
    """Return whether an error came up while an interruption was being dealt with, as in closing what was half open."""
    before = error.__context__
    return isinstance(error, KeyboardInterrupt) or (before is not None and _interrupted(before))
