"""A θ goes to the Hub, and comes back from it."""

import jax
import numpy as np
import pytest

import learned
from learned import hub, theta_file
from tests.learned.hub_server import StandIn

PIXEL = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def server(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with StandIn() as server:
        # As HF_ENDPOINT has it, which is read when the library is imported.
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def test_what_was_pushed_is_loaded(server, tmp_path):
    picture = tmp_path / "mine.png"
    picture.write_bytes(PIXEL)
    where = learned.push_to_hub(
        "nominal_small", "me/first", picture=picture, private=True, token="hf_secret"
    )
    assert where == f"{server.address}/me/first"
    assert server.tokens == {"Bearer hf_secret"}
    (asked,) = server.made
    assert asked.get("private") is True or asked.get("visibility") == "private"
    names = {path for _, path in server.files}
    assert names == {"theta.safetensors", "README.md", "training.png"}
    card = server.files["me/first", "README.md"].decode()
    assert card.startswith("---\nlibrary_name: opt-gym\n")
    assert "# nominal_small" in card
    assert 'learned.load("me/first")' in card
    assert server.files["me/first", "training.png"] == PIXEL
    optimizer, theta = learned.load("me/first")
    ours, expected = learned.load("nominal_small")
    assert optimizer.config == ours.config
    jax.tree.map(np.testing.assert_array_equal, theta, expected)


def test_a_hub_that_refuses_is_an_error_of_the_system(server):
    server.refuses = True
    with pytest.raises(OSError, match="403"):
        learned.push_to_hub("nominal_small", "me/first", picture=False)


def test_a_card_of_what_the_file_says(tmp_path):
    optimizer, theta = learned.load("nominal_small")
    training = theta_file.read_header("nominal_small")["training"]
    path = learned.save(
        tmp_path / "mine.safetensors", optimizer, theta, training=training
    )
    hub.prepare(tmp_path, path, "me/first", picture=False)
    card = (tmp_path / "README.md").read_text()
    assert "The architecture `nominal`" in card
    assert "- tasks: " in card
    assert "training.png" not in card
    own = tmp_path / "own.md"
    own.write_text("---\nlicense: mit\n---\n# Mine\n")
    hub.prepare(tmp_path, path, "me/first", card=own, picture=False)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n# Mine\n")
    assert "apache" not in card
    bare = learned.save(
        tmp_path / "bare.safetensors", optimizer._replace(trained_horizon=None), theta
    )
    assert "tasks" not in hub.describe(theta_file.read_header(bare))


@pytest.mark.slow
def test_the_picture_is_drawn(tmp_path):
    hub.prepare(tmp_path, "nominal_small", "me/first")
    assert (tmp_path / "training.png").read_bytes().startswith(PIXEL[:8])


def test_what_cannot_be_pushed_is_said_before_anything_is_sent(server, tmp_path):
    for name in ("first", "me/first/theta", "me/"):
        with pytest.raises(ValueError, match="owner/name"):
            learned.push_to_hub("nominal_small", name)
    other = tmp_path / "other.png"
    other.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="a PNG file"):
        learned.push_to_hub("nominal_small", "me/first", picture=other)
    with pytest.raises(FileNotFoundError, match="nominal_smal"):
        learned.push_to_hub("nominal_smal", "me/first")
    assert not server.made
