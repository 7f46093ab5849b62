"""The house law: who may import whom, how long a file is, how a plug-in ends."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from opt_gym import plugins
from opt_gym.evaluation import run_cache

ROOT = Path(__file__).resolve().parent.parent

ROOMS = (
    "opt_gym/version.py",
    "opt_gym/lazy_names.py",
    "opt_gym/entry_points.py",
    "opt_gym/numerics.py",
    "opt_gym/setting_kinds.py",
    "opt_gym/plugins.py",
    "opt_gym/checks.py",
    "opt_gym/records.py",
    "opt_gym/runtime/",
    "opt_gym/maths/",
    "opt_gym/data/",
    "opt_gym/objectives.py",
    "opt_gym/answers.py",
    "opt_gym/env.py",
    "opt_gym/episode.py",
    "opt_gym/policy.py",
    "opt_gym/adapters/",
    "opt_gym/features/",
    "opt_gym/actions/",
    "opt_gym/tasks/building/",
    "opt_gym/tasks/losg/",
    "opt_gym/tasks/named/",
    "opt_gym/tasks/",
    "opt_gym/twins.py",
    "opt_gym/normalize.py",
    "opt_gym/factory.py",
    "opt_gym/gym/",
    "opt_gym/judge/",
    "opt_gym/evaluation/",
    "opt_gym/archive/",
    "opt_gym/report/",
    "opt_gym/task_statistics/",
    "opt_gym/__init__.py",
    "envs_registry/names.py",
    "envs_registry/",
    "learned/arguments.py",
    "learned/branches.py",
    "learned/decay.py",
    "learned/building/",
    "learned/architectures/",
    "learned/theta_file.py",
    "learned/published/",
    "learned/exporting/",
    "learned/hub.py",
    "learned/optax_numbers.py",
    "learned/optax_state.py",
    "learned/optax_transformation.py",
    "learned/published_list.py",
    "learned/guard.py",
    "learned/guarded_optax.py",
    "learned/how_they_fared.py",
    "learned/contest.py",
    "learned/on_your_model.py",
    "learned/torch/",
    "learned/__init__.py",
    "agents/host_arrays.py",
    "agents/task_mixes.py",
    "agents/records.py",
    "agents/checkpoint.py",
    "agents/run_lock.py",
    "agents/outer_optimizers.py",
    "agents/estimators/",
    "agents/rl/sb3/",
    "agents/rl/",
    "agents/trainers/",
    "agents/callbacks.py",
    "agents/loop.py",
    "agents/ray_workers.py",
    "agents/task_workers.py",
    "agents/trainers_compared.py",
    "agents/__init__.py",
    "opt_gym/testing/",
    "opt_gym/cli/",
)
"""Every room, the lowest first: a file imports from its own room or from lower ones.

A file's room is the longest of these that its path begins with."""

EXEMPT = ("opt_gym/__init__.py", "opt_gym/cli/", "opt_gym/testing/")
"""Rooms that import what they like: the first hands names on, nothing imports the others."""

APART = {"learned": "agents", "agents": "learned"}
"""Packages that never import each other, whatever the order."""

MAX_LINES = 400
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("opt_gym", "learned", "agents", "envs_registry")
    for path in (ROOT / package).rglob("*.py")
)


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


PLUGIN_FOLDERS = tuple(f"{p.replace('.', '/')}/" for p in plugins.KINDS.values())
MODULES = {module_of(file): file for file in FILES}


def imported_names(tree: ast.AST) -> Iterable[tuple[str, ...]]:
    """What is imported, wherever it stands: (module,) or (module, name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((str(node.module), alias.name) for alias in node.names)


def arrows_of(file: str) -> set[str]:
    """The files that a file imports; those inside functions and under TYPE_CHECKING count."""
    found = set()
    for name in imported_names(ast.parse((ROOT / file).read_text())):
        target = MODULES.get(".".join(name)) or MODULES.get(name[0])
        if target:
            found.add(target)
    return found - {file}


ARROWS = {file: arrows_of(file) for file in FILES}


def room_of(file: str) -> str:
    rooms = [room for room in ROOMS if file.startswith(room)]
    assert rooms, f"{file} is in none of the rooms: give it a place in the order"
    return max(rooms, key=len)


def imports_upwards(arrows: dict[str, set[str]]) -> list[str]:
    height = {room: place for place, room in enumerate(ROOMS)}
    return [
        f"{file} -> {target}"
        for file, targets in arrows.items()
        for target in sorted(targets)
        if room_of(file) not in EXEMPT
        and height[room_of(target)] > height[room_of(file)]
    ]


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that import one another in a circle (Tarjan's components)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(file: str) -> None:
        numbers[file] = lowest[file] = len(numbers)
        stack.append(file)
        for target in arrows[file]:
            if target not in numbers:
                visit(target)
                lowest[file] = min(lowest[file], lowest[target])
            elif target in stack:
                lowest[file] = min(lowest[file], numbers[target])
        if lowest[file] == numbers[file]:
            start = stack.index(file)
            group = stack[start:]
            del stack[start:]
            if len(group) > 1:
                found.append(sorted(group))

    for file in arrows:
        if file not in numbers:
            visit(file)
    return found


def test_no_arrow_runs_from_a_lower_room_to_a_higher_one():
    assert imports_upwards(ARROWS) == []


def test_no_files_import_one_another_in_a_circle():
    arrows = {f: ts for f, ts in ARROWS.items() if room_of(f) not in EXEMPT}
    arrows = {f: ts & set(arrows) for f, ts in arrows.items()}
    assert circles(arrows) == []


def test_the_law_sees_arrows_and_circles():
    up = {"opt_gym/env.py": {"opt_gym/factory.py"}, "opt_gym/factory.py": set()}
    assert imports_upwards(up) == ["opt_gym/env.py -> opt_gym/factory.py"]
    round_trip = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert circles(round_trip) == [["a", "b", "c"]]
    inside = ast.parse("if TYPE_CHECKING:\n import a\ndef f():\n from b import c")
    assert set(imported_names(inside)) == {("a",), ("b", "c")}


def test_learned_and_agents_never_import_each_other():
    for file, targets in ARROWS.items():
        apart = APART.get(file.split("/")[0])
        assert not any(target.split("/")[0] == apart for target in targets), file


def test_nothing_imports_the_command_line_or_the_test_kit():
    for file, targets in ARROWS.items():
        for room in ("opt_gym/cli/", "opt_gym/testing/"):
            if room_of(file) not in (room, "opt_gym/cli/"):
                assert not any(target.startswith(room) for target in targets), file


def test_caches_leave_out_only_what_has_no_influence_on_a_run():
    plugin_files = [f for f in FILES if f.startswith(PLUGIN_FOLDERS[:-1])]
    needed, waiting = set(), {"opt_gym/evaluation/jobs.py", *plugin_files}
    while waiting:
        needed |= waiting
        waiting = {t for file in waiting for t in ARROWS[file]} - needed
    without = {f"opt_gym/{path}" for path in run_cache.WITHOUT_INFLUENCE}
    assert not [file for file in needed if file.startswith(tuple(without))]
    assert all((ROOT / path).exists() for path in without)


def test_every_room_is_there():
    rooms = {room_of(file) for file in FILES}
    assert rooms == {room for room in ROOMS if (ROOT / room).exists()}


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_two_rooms(file):
    assert len((ROOT / file).read_text().splitlines()) <= MAX_LINES


def test_a_file_name_stands_once():
    """So that it can be searched for. Plug-ins and commands are named for what they give,
    and each of the two packages with records of its own calls them so."""
    seen: dict[str, str] = {}
    for file in FILES:
        folder, _, name = file.rpartition("/")
        named_by_law = f"{folder}/" in (*PLUGIN_FOLDERS, "opt_gym/cli/")
        if named_by_law or name in ("__init__.py", "__main__.py", "records.py"):
            continue
        assert name not in seen, f"{file} and {seen[name]}"
        seen[name] = file


def test_a_package_has_no_module_of_a_name_that_it_exports():
    """`import opt_gym.evaluation.evaluate` would give the function or the file by chance."""
    for file in FILES:
        if file.endswith("/__init__.py"):
            exported = getattr(importlib.import_module(module_of(file)), "__all__", ())
            inside = {p.stem for p in (ROOT / file).parent.iterdir()}
            assert not inside & set(exported), file


def test_heavy_packages_are_imported_where_they_are_used():
    heavy = {
        "torch",
        "tensorflow_datasets",
        "stable_baselines3",
        "matplotlib",
        "sklearn",
        "sentencepiece",
        "evosax",
        "plotly",
        "itables",
        "jinja2",
        "markupsafe",
    }
    # `import learned.torch` asks for torch, `import agents.rl.sb3.…` for SB3 too.
    asked = {
        "learned/torch": {"torch"},
        "agents/rl/sb3": {"torch", "stable_baselines3"},
    }
    for file in FILES:
        body = ast.Module(
            [
                node
                for node in ast.parse((ROOT / file).read_text()).body
                if isinstance(node, ast.Import | ast.ImportFrom)
            ],
            [],
        )
        top = {name[0].split(".")[0] for name in imported_names(body)}
        assert not top & heavy - asked.get(file.rpartition("/")[0], set()), file


def test_importing_the_agents_asks_for_nothing_heavy():
    code = (
        "import sys, agents, agents.rl; from opt_gym import plugins;"
        "[plugins.spec('trainer', name) for name in plugins.built_in('trainer')];"
        "print({'torch', 'stable_baselines3'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_plugin_ends_in_a_spec_with_a_source(kind):
    for spec in plugins.specs(kind):  # those from outside, too
        plugins.check_spec(spec)
    for name in plugins.built_in(kind):
        spec = plugins.spec(kind, name)
        assert (spec.kind, spec.name) == (kind, name)
        path = ROOT / MODULES[plugins.module_of(kind, name)]
        last = ast.parse(path.read_text()).body[-1]
        assert isinstance(last, ast.Assign), f"{path} does not end in SPEC"
        assert isinstance(last.targets[0], ast.Name)
        assert last.targets[0].id == "SPEC"


def test_importing_opt_gym_is_cheap_and_without_jax():
    code = (
        "import gymnasium, time, sys; t = time.process_time(); import opt_gym;"
        "print(time.process_time() - t, 'jax' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    runs = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds = min(float(run.stdout.split()[0]) for run in runs)
    assert {run.stdout.split()[1] for run in runs} == {"False"}
    assert seconds < 0.06


def test_unknown_plugins_are_named_with_near_matches():
    with pytest.raises(ValueError, match="'nominl'; did you mean 'nominal'"):
        plugins.spec("architecture", "nominl")
    with pytest.raises(ValueError, match="unknown kind of plug-in: 'tasks'"):
        plugins.names("tasks")
    with pytest.raises(ValueError, match="option of architecture 'mlp': 'hiden'"):
        plugins.build("architecture", "mlp", {"hiden": 3})
