"""Requests on made-up machines, and the cases and groups that are expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cnnbench.models import MODELS
from cnnbench.orchestrator.plan import Group, Plan, make_plan
from cnnbench.record import Environment
from cnnbench.spec import Budget, Case, Request, Section, Shape
from cnnbench.variants import parse_variant
from tests.factories import MACHINE, case

BUDGET = Budget(total_s=60.0, timeout_s=600.0)
NATIVE = replace(MACHINE, native_bf16=True)
GPU = replace(NATIVE, gpu="Example GPU", gpu_native_bf16=True)
NO_COMPILER = replace(NATIVE, compile_blocker="torch.compile needs a C++ compiler: install g++")
OUTSIDE = "./net.py:make"


def request(*sections: Section, **options: Any) -> Request:
    return replace(Request(title="t", sections=sections, budget=BUDGET), **options)


def section(*models: str, variants: tuple[str, ...] = ("eager",), **options: Any) -> Section:
    return replace(Section(models=models, variants=variants), **options)


def plan(asked: Request, environment: Environment = NATIVE, shapes: Mapping[str, Shape] | None = None) -> Plan:
    return make_plan(asked, environment, shapes or {})


def cell(model: str, variant: str = "eager", **options: Any) -> Case:
    """Return the case that is expected for a cell of `model`."""
    device = options.get("device", "cpu")
    shape = MODELS[model].input_shape if model in MODELS else (3, 9, 9)
    return replace(case(model, parse_variant(variant, device=device, threads=2), shape=shape), **options)


def group(*cases: Case) -> Group:
    """Return the group of `cases` as it is expected: with controls, the A/A one where something is compared."""
    aa_control = replace(cases[0], role="aa_control") if len(cases) > 1 else None
    return Group(cases=cases, aa_control=aa_control, control_workload=replace(cases[0], role="control_workload"))
