"""The promises that the project makes about itself: packaging, public names, pins, documents."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import irprune

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = ("backends", "frontends", "passes")


def packages_in_tree() -> Iterator[str]:
    for folder, _, files in os.walk(ROOT / "irprune", followlinks=True):
        if any(name.endswith(".py") for name in files):
            yield ".".join(Path(folder).relative_to(ROOT).parts)


def test_the_list_of_packages_is_the_tree() -> None:
    assert PYPROJECT["tool"]["setuptools"]["packages"] == sorted(packages_in_tree())


def test_the_mapped_rooms_are_the_links() -> None:
    mapped = {f"irprune.{room}": room for room in ROOMS}
    assert PYPROJECT["tool"]["setuptools"]["package-dir"] == mapped
    links = {path.name for path in (ROOT / "irprune").iterdir() if path.is_symlink()}
    assert links == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_linked_by_a_relative_path(room: str) -> None:
    assert (ROOT / "irprune" / room).readlink() == Path("..", room)


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_can_be_imported_by_its_bare_name(room: str) -> None:
    """Also what keeps ``python -m pytest``, which would make every module two, from passing."""
    assert importlib.util.find_spec(room) is None


def test_the_public_names() -> None:
    assert irprune.__all__ == [
        "DEVICES",
        "Arena",
        "BoundedBytes",
        "BoundedCost",
        "Budget",
        "Builder",
        "CompileOptions",
        "Compiled",
        "Compression",
        "CostModel",
        "Density",
        "Device",
        "FakeQuantizer",
        "FixedSparsity",
        "Graph",
        "Group",
        "IrpruneError",
        "LayerGap",
        "LayerRange",
        "Mask",
        "MinimizedCost",
        "Node",
        "Numbers",
        "PeakModel",
        "Penalty",
        "Plan",
        "Precision",
        "PruneOptions",
        "Report",
        "Salience",
        "Schedule",
        "SparsityCost",
        "SparsityLearner",
        "SparsityOptions",
        "Threshold",
        "Usage",
        "Value",
        "WidthOptions",
        "WidthPruner",
        "analyze",
        "apply_sparsity",
        "apply_to_module",
        "apply_to_optimizer",
        "apply_widths",
        "arena",
        "channels",
        "check_arena",
        "compile_tflite",
        "compiled_bytes",
        "compiled_usage",
        "deployed",
        "device",
        "encoded_bytes",
        "estimated_bytes",
        "footprint",
        "load",
        "parse",
        "plan_for_budget",
        "plan_for_ratio",
        "plan_for_size",
        "plan_for_sparsity",
        "read_plan",
        "reorder",
        "run",
        "schedule",
        "show",
        "to_onnx",
        "verify",
        "write_onnx",
        "write_plan",
        "write_tflite",
    ]


@pytest.mark.parametrize("name", irprune.__all__)
def test_a_public_name_is_what_it_says(name: str) -> None:
    assert getattr(irprune, name) is not None
    assert name in dir(irprune)


def test_no_other_name_is_public() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        getattr(irprune, "prune")  # noqa: B009


@pytest.mark.parametrize("statement", ["import irprune", "import irprune.cli"])
def test_importing_loads_no_heavy_library(statement: str) -> None:
    heavy = "{'numpy', 'onnx', 'onnx_graphsurgeon', 'tflite', 'torch'}"
    program = f"import sys; {statement}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_version_stands_in_one_place() -> None:
    version = PYPROJECT["project"]["version"]
    assert importlib.metadata.version("irprune") == version
    sources = (p for room in ("irprune", *ROOMS) for p in (ROOT / room).rglob("*.py"))
    assert [p for p in sources if f'"{version}"' in p.read_text()] == []


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_a_requirement_is_pinned_to_a_version_that_meets_it(requirement: Requirement) -> None:
    pinned = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned, prereleases=True)


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []
