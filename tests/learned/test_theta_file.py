"""θ files: what is written comes back, and what is broken is refused in words."""

import json
import re
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import learned
import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS, SMALL_MLP_HELD_OUT
from learned import theta_file
from opt_gym import plugins, policy
from tests.learned.problems import moving_theta


@pytest.fixture
def nominal():
    known = {"trained_horizon": 500, "trained_size": 900}
    optimizer = learned.make("nominal", hidden=4)._replace(**known)
    return optimizer, optimizer.init_theta(jax.random.key(0))


@pytest.mark.parametrize("name", learned.names())
def test_every_architecture_comes_back(name, tmp_path):
    optimizer, theta = moving_theta(name)
    path = learned.save(tmp_path / "theta.safetensors", optimizer, theta)
    loaded, restored = learned.load(path)
    assert (loaded.name, loaded.config) == (optimizer.name, optimizer.config)
    jax.tree.map(np.testing.assert_array_equal, theta, restored)


def test_the_header_says_what_theta_needs(nominal, tmp_path):
    path = tmp_path / "a.safetensors"
    learned.save(path, *nominal, training={"outer_steps": 3})
    header = theta_file.read_header(path)
    assert header["architecture"][0] == "nominal"
    assert header["architecture"][1]["hidden"] == 4
    assert header["features"] == ["nominal", {"time_clamp": 1000}]
    assert header["action_map"] == ["update", {}]
    assert header["training"] == {"outer_steps": 3}
    loaded = learned.load(path)[0]
    assert (loaded.trained_horizon, loaded.trained_size) == (500, 900)


def test_settings_that_came_after_a_file_have_their_defaults(tmp_path):
    assert "squashing" not in theta_file.read_header("mlp_small")["action_map"][1]
    old, theta = learned.load("mlp_small")
    assert old.action_map.config["squashing"] == "none"
    squashed = learned.make("mlp", **{**old.config, "squashing": "tanh"})
    path = learned.save(tmp_path / "a.safetensors", squashed, theta)
    assert learned.load(path)[0].action_map.config["squashing"] == "tanh"


def test_what_leaves_training_is_what_a_file_gives_back(tmp_path):
    """Horizon and clamp included; a clamp that was set, and what has none, stay."""
    clamps = {"mlp": 50, "hierarchical": 50, "star": 50, "nominal": 1000}
    assert clamps.keys() <= set(learned.names())
    for name in learned.names():
        optimizer = learned.make(name)
        theta = jax.tree.map(
            lambda x: np.zeros(x.shape, x.dtype), policy.theta_like(optimizer)
        )
        left = policy.trained_for(optimizer, 50, 700)
        loaded, _ = learned.load(learned.save(tmp_path / "a.safetensors", left, theta))
        for ours, theirs in ((left, loaded), (left.features, loaded.features)):
            assert (ours.name, ours.config) == (theirs.name, theirs.config)
        assert left.trained_horizon == loaded.trained_horizon == 50
        assert left.trained_size == loaded.trained_size == 700
        if name in clamps:
            assert left.config["time_clamp"] == clamps[name]
    never = learned.make("mlp")
    assert policy.trained_for(never, None) == never


def test_damaged_and_foreign_files_are_refused(nominal, tmp_path):
    path = learned.save(tmp_path / "a.safetensors", *nominal)
    whole = path.read_bytes()
    for broken in (whole[:-40], whole[:30], b"", b"\x00" * 100, b"hello" * 50):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"a\.safetensors is damaged or not"):
            learned.load(path)
    save_file({"x": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="not a θ file"):
        learned.load(tmp_path / "b.safetensors")


def test_files_that_do_not_fit_are_refused(nominal, tmp_path):
    optimizer, theta = nominal
    path = learned.save(tmp_path / "a.safetensors", optimizer, theta)
    header = theta_file.read_header(path)
    flat = {name: np.asarray(x) for name, x in policy.named_leaves(theta)}
    hidden = {"hidden": 10**15}
    cases = [
        ({**header, "format": 99}, flat, "format 99"),
        ({**header, "architecture": ["nominl", {}]}, flat, "did you mean 'nominal'"),
        ({**header, "architecture": 3}, flat, "makes no sense"),
        ({**header, "architecture": ["nominal", 3]}, flat, "makes no sense"),
        ({**header, "architecture": ["nominal", {"hidden": "x"}]}, flat, "no sense"),
        ({**header, "architecture": ["nominal", hidden]}, flat, "hidden must be"),
        ({**header, "trained_horizon": "soon"}, flat, "trained_horizon is 'soon'"),
        ({**header, "trained_size": 0}, flat, "trained_size is 0"),
        ({**header, "features": ["mlp", {}]}, flat, "features and action map"),
        ({k: v for k, v in header.items() if k != "features"}, flat, "lacks"),
        (header, {**flat, "log_step": np.zeros(2, np.float32)}, "log_step"),
    ]
    for changed, tensors, message in cases:
        # Written on purpose, with a digest that fits.
        changed["digest"] = theta_file._digest_file(changed, tensors)
        save_file(tensors, path, metadata={"opt_gym": json.dumps(changed)})
        with pytest.raises(ValueError, match=message):
            learned.load(path)


def test_numbers_that_numpy_does_not_know_are_refused(nominal, tmp_path):
    path = learned.save(tmp_path / "a.safetensors", *nominal)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    head = json.dumps(
        {"x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    ).ljust(size)
    path.write_bytes(size.to_bytes(8, "little") + head.encode() + bytes(4))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        learned.load(path)


def test_a_changed_number_is_noticed(nominal, tmp_path):
    path = learned.save(tmp_path / "a.safetensors", *nominal)
    whole = bytearray(path.read_bytes())
    whole[-2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="was changed after it was written"):
        learned.load(path)


@st.composite
def mutations(draw):
    """Up to three edits: (kind, place in [0, 1), byte, length)."""
    edit = st.tuples(
        st.sampled_from(["set", "cut", "drop", "insert", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.integers(1, 64),
    )
    return draw(st.lists(edit, min_size=1, max_size=3))


def mutated(content, edits):
    for kind, place, byte, length in edits:
        at = int(place * len(content))
        if kind == "set":
            content = content[:at] + bytes([byte]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[at + length :]
        elif kind == "insert":
            content = content[:at] + bytes([byte]) * length + content[at:]
        else:
            content = content[:at] + content[at : at + length] * 2 + content[at:]
    return content


def check_mutations(nominal, folder, count):
    path = learned.save(folder / "a.safetensors", *nominal)
    whole = path.read_bytes()
    _, theta = learned.load(path)

    @settings(max_examples=count, deadline=None, database=None)
    @given(mutations())
    def check(edits):
        path.write_bytes(mutated(whole, edits))
        try:
            optimizer, found = learned.load(path)
        except ValueError:
            return
        # What loads is what was saved: an edit without effect, such as a blank in a header.
        assert optimizer.name == nominal[0].name
        jax.tree.map(np.testing.assert_array_equal, found, theta)

    check()


def test_no_mutation_crashes_or_loads_another_theta(nominal, tmp_path):
    check_mutations(nominal, tmp_path, 200)


@pytest.mark.slow
def test_ten_thousand_mutations(nominal, tmp_path):
    check_mutations(nominal, tmp_path, 10_000)


def test_a_repository_that_cannot_be_reached_fails_at_once(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    # Nobody listens there.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="'somebody/theta' is neither a file"):
        learned.load("somebody/theta")
    assert time.monotonic() - began < 5


def test_a_repository_in_the_cache_is_loaded(monkeypatch, tmp_path, nominal):
    import huggingface_hub

    path = learned.save(tmp_path / "theta.safetensors", *nominal)
    asked = []

    def download(repository, file, **options):
        asked.append((repository, file, options))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    optimizer, _ = learned.load("somebody/theta")
    assert optimizer.name == "nominal"
    assert asked == [
        ("somebody/theta", "theta.safetensors", {"local_files_only": True})
    ]


def test_paths_are_not_taken_for_repositories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("runs/theta", "nowhere/theta.safetensors"):
        with pytest.raises(FileNotFoundError, match=name):
            learned.load(name)


def test_names_that_do_not_exist_are_named():
    with pytest.raises(FileNotFoundError, match="'no_such_theta'"):
        learned.load("no_such_theta")


@pytest.mark.parametrize("kind", [np.int32, np.float64, np.float16])
def test_real_numbers_are_saved_as_the_architectures(kind, tmp_path):
    sgd = learned.make("sgd")
    path = learned.save(tmp_path / "a", sgd, {"learning_rate": kind(2)})
    theta = learned.load(path)[1]
    assert theta["learning_rate"].dtype == np.float32
    assert theta["learning_rate"] == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, 1j, True, "x", None])
def test_what_is_no_finite_number_is_not_saved(value, tmp_path):
    sgd = learned.make("sgd")
    with pytest.raises(ValueError, match="learning_rate"):
        learned.save(tmp_path / "a", sgd, {"learning_rate": value})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("training", [{"x": np.float32(1)}, {"x": {1}}, {1j: 2}])
def test_training_that_is_no_json_is_refused(training, nominal, tmp_path):
    with pytest.raises(ValueError, match="training must be JSON"):
        learned.save(tmp_path / "a", *nominal, training=training)


def test_theta_of_another_shape_is_not_saved(nominal, tmp_path):
    optimizer, theta = nominal
    with pytest.raises(ValueError, match="log_step"):
        learned.save(tmp_path / "a", optimizer, {**theta, "log_step": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_every_learned_architecture_has_a_bundled_theta():
    hand_designed = {
        name
        for name in plugins.built_in("architecture")
        # Their θ are the settings that they were made with.
        if set(jax.eval_shape(learned.make(name).init_theta, jax.random.key(0)))
        <= set(learned.make(name).config)
    }
    trained = {learned.load(name)[0].name for name in theta_file.bundled_names()}
    of_others = {"celo_adam"}  # for what others trained
    assert trained == set(plugins.built_in("architecture")) - hand_designed - of_others


@pytest.mark.parametrize("name", theta_file.bundled_names())
def test_bundled_thetas_load_and_tell_where_they_come_from(name):
    optimizer, theta = learned.load(name)
    assert optimizer.trained_horizon
    assert optimizer.trained_size
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(theta))
    fresh = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    assert jax.tree.map(np.shape, theta) == jax.tree.map(np.shape, fresh)
    card = theta_file._BUNDLED / f"{name}.md"
    text = card.read_text()
    assert text.startswith(f"# {name}\n")
    seen = "tiny twins" if name.startswith("general") else "small networks"
    for told in ("PES", "outer seed", "held-out", seen):
        assert told in text, f"{card.name} does not tell of {told!r}"


@pytest.mark.slow
@pytest.mark.parametrize("name", theta_file.bundled_names())
def test_bundled_thetas_reach_what_their_cards_say(name):
    optimizer, theta = learned.load(name)
    header = theta_file.read_header(theta_file._BUNDLED / f"{name}.safetensors")
    card = (theta_file._BUNDLED / f"{name}.md").read_text().replace("\n", " ")
    told = re.search(r"normalized\s+loss\s+(\.?[\d.]+)\s+\[([\d.]+), ([\d.]+)\]", card)
    assert told is not None
    of_general = BENCHMARK_SETS["taskset-tiny-v1/development"]
    runs = opt_gym.evaluate(
        optimizer,
        of_general if name.startswith("general") else SMALL_MLP_HELD_OUT,
        theta,
        horizon=1000,
        num_seeds=2,
        objective=header["training"].get("objective", "train"),
        data="embedded",
    )
    found = np.mean([run.mean_cost for run in runs])
    assert float(told[2]) < found < float(told[3])
