"""The house law: who may import whom, how long a file is, how a plug-in ends."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from opt_gym import plugins

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("opt_gym", "learned", "agents", "envs_registry")
MAY_IMPORT = {
    "opt_gym": {"opt_gym"},
    "learned": {"opt_gym", "learned"},
    "agents": {"opt_gym", "agents"},
    "envs_registry": {"opt_gym", "envs_registry"},
}
EXEMPT = {
    "opt_gym/__init__.py": {"envs_registry.names"},
    "opt_gym/cli": set(ROOMS),
}
MAX_LINES = 400
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_only_what_they_may(path):
    name = path.relative_to(ROOT).as_posix()
    exempt = {m for prefix, ms in EXEMPT.items() if name.startswith(prefix) for m in ms}
    for module in imported(path):
        room = module.split(".")[0]
        if room in ROOMS and room not in MAY_IMPORT[name.split("/")[0]]:
            allowed = any(e.startswith(module) or module.startswith(e) for e in exempt)
            assert allowed, f"{name} imports {module}"


def test_nothing_imports_the_command_line():
    for path in FILES:
        if "cli" not in path.relative_to(ROOT).parts:
            assert not any(m.startswith("opt_gym.cli") for m in imported(path)), path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_two_rooms(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_heavy_packages_are_imported_where_they_are_used():
    heavy = {
        "torch",
        "tensorflow_datasets",
        "stable_baselines3",
        "matplotlib",
        "sklearn",
        "sentencepiece",
        "evosax",
    }
    for path in FILES:
        top = {
            name.split(".")[0]
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        # `import learned.torch` is asking for torch, `agents.rl.policy` for SB3 too.
        asked = {
            ROOT / "learned" / "torch": {"torch"},
            ROOT / "agents" / "rl": {"torch", "stable_baselines3"},
        }.get(path.parent, set())
        assert not top & heavy - asked, path


def test_importing_the_agents_asks_for_nothing_heavy():
    code = (
        "import sys, agents, agents.rl; [agents.plugins.spec('trainer', name) for name "
        "in agents.names()]; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_plugin_ends_in_a_spec_with_a_source(kind):
    for name in plugins.names(kind):
        spec = plugins.spec(kind, name)
        assert (spec.kind, spec.name) == (kind, name)
        assert spec.source
        path = ROOT.joinpath(*plugins.KINDS[kind].split("."), f"{name}.py")
        last = ast.parse(path.read_text()).body[-1]
        assert isinstance(last, ast.Assign), f"{path} does not end in SPEC"
        assert isinstance(last.targets[0], ast.Name)
        assert last.targets[0].id == "SPEC"


def test_importing_opt_gym_is_cheap_and_without_jax():
    code = (
        "import gymnasium, time, sys; t = time.perf_counter(); import opt_gym;"
        "print(time.perf_counter() - t, 'jax' in sys.modules)"
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


def test_a_plugin_can_come_from_outside():
    import opt_gym

    spec = plugins.Spec(
        "task", "from_outside", lambda config: None, "a test", lambda seed: {}
    )
    try:
        assert opt_gym.register(spec) is spec
        assert "from_outside" in plugins.names("task")
        assert plugins.spec("task", "from_outside") is spec
        with pytest.raises(ValueError, match="'quadratic' exists already"):
            opt_gym.register(spec._replace(name="quadratic"))
    finally:
        plugins._registered.pop(("task", "from_outside"), None)
