"""The families on text: losses by hand, options of their data, bad configs refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym import plugins
from opt_gym.data import catalog
from opt_gym.records import SPLITS, Batch
from opt_gym.tasks.building import samplers, text_sources

LANGUAGE = {
    "embed_dim": 3,
    "w_init": ["sonnet", None],
    "vocab_size": 5,
    "core": ["vrnn", {"core_dim": 4, "act_fn": "tanh"}],
    "trainable_init": True,
    "dataset": ["lm1b/bytes", {"patch_length": 6, "batch_size": 7}],
}
CLASSIFIER = {
    **{key: LANGUAGE[key] for key in ("embed_dim", "w_init", "core", "trainable_init")},
    "vocab_size": 50,
    "dataset": ["imdb_reviews/bytes", {"bs": 7, "patch_length": 6, "max_token": 30}],
    "loss_compute": "last",
}
FAMILIES = {
    "char_rnn_language_model": LANGUAGE,
    "word_rnn_language_model": LANGUAGE,
    "rnn_text_classification": CLASSIFIER,
}
TOKENS = np.array([[1, 2, 9, 3], [4, 1, 0, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)


def build(family, **change):
    return plugins.spec("task", family).make({**FAMILIES[family], **change})


def params_of(task):
    params, instance = jax.jit(lambda key: task.init(key, {}))(jax.random.key(0))
    assert instance == ()
    return params


@pytest.mark.parametrize("masked", [False, True])
def test_a_language_model_counts_padding_unless_masked(masked):
    task = build("char_rnn_language_model", masked=masked)
    params = params_of(task)
    # Only the bias of the last layer is seen. Token 9 counts as the last id, 4.
    shares = np.array([0.4, 0.3, 0.1, 0.15, 0.05], np.float32)
    params = (*params[:-2], jnp.zeros((4, 5)), jnp.log(shares))
    loss, aux = task.loss(jax.random.key(0), params, (), Batch(TOKENS, None, MASK))
    targets = [2, 4, 3, 1] if masked else [2, 4, 3, 1, 0, 0]
    np.testing.assert_allclose(loss, -np.log(shares[targets]).mean(), rtol=1e-6)
    assert aux == {}


def test_a_batch_that_is_all_padding_has_a_masked_loss_of_zero():
    task = build("char_rnn_language_model", masked=True)
    batch = Batch(0 * TOKENS, None, 0 * MASK)
    loss = task.loss(jax.random.key(0), params_of(task), (), batch)[0]
    assert float(loss) == 0.0


def test_a_language_model_sees_no_future():
    task = build("word_rnn_language_model")
    params = params_of(task)

    def losses(tokens):
        """Cross entropies of the second token, by masks of one position."""
        mask = np.zeros(TOKENS.shape, np.float32)
        mask[:, 1] = 1
        masked = build("word_rnn_language_model", masked=True)
        return masked.loss(jax.random.key(0), params, (), Batch(tokens, None, mask))[0]

    later, earlier = TOKENS.copy(), TOKENS.copy()
    later[:, 2:], earlier[:, 0] = 3, 3
    assert losses(TOKENS) == losses(later)
    assert losses(TOKENS) != losses(earlier)


@pytest.mark.parametrize("compute", ["last", "avg", "max"])
def test_a_classifier_summarizes_all_time_steps(compute):
    task = build("rnn_text_classification", loss_compute=compute)
    params = [np.asarray(p, np.float64) for p in params_of(task)]
    params[1] = np.full((1, 4), 0.3)
    table, h, w, b, u, c, v, d = params
    h, outputs = h.repeat(2, axis=0), []
    for t in range(4):
        h = np.tanh(table[TOKENS[:, t]] @ w + b + h @ u + c)
        outputs.append(h)
    summary = {"last": lambda x: x[-1], "avg": np.mean, "max": np.max}[compute]
    seen = summary(outputs, **({} if compute == "last" else {"axis": 0}))
    logits = seen @ v + d
    labels = np.array([1, 0], np.int32)
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[[0, 1], labels])
    single = tuple(np.float32(p) for p in params)
    loss, aux = task.loss(jax.random.key(0), single, (), Batch(TOKENS, labels, MASK))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert aux["accuracy"] == np.mean(logits.argmax(1) == labels)


def test_shapes_and_roles_follow_the_config():
    task = build("char_rnn_language_model", core=["lstm", {"core_dim": 4}])
    shapes = [p.shape for p in params_of(task)]
    assert shapes == [(5, 3), (1, 4), (1, 4), (7, 16), (16,), (4, 5), (5,)]
    kernel = ("kernel", "bias")
    assert task.roles == ("embedding", "bias", "bias", *kernel, *kernel)
    assert (task.dataset, task.input_kind, task.batch_size) == ("lm1b/bytes", "text", 7)
    # The table has as many rows as the smaller of vocab_size and max_token.
    task = build("rnn_text_classification", trainable_init=False)
    assert [p.shape for p in params_of(task)][:2] == [(30, 3), (3, 4)]
    assert task.roles == ("embedding", *kernel, *kernel, *kernel)


def test_a_classifier_always_reads_imdb_in_subwords():
    for name in (*samplers.CLASSIFICATION_SETS, "lm1b/bytes"):
        settings = {"bs": 7, "patch_length": 6}
        source = text_sources.classification_source("here", [name, settings])
        assert source.name == "imdb_reviews/subwords8k"
    assert source.batch_size == 7


def test_batches_are_windows_of_the_texts():
    task = build("char_rnn_language_model")
    data = task.load_data("embedded")
    batch = task.sample_batch(jax.random.key(0), data, (), "train")
    assert batch.inputs.shape == batch.mask.shape == (7, 6)
    np.testing.assert_array_equal(batch.inputs > 0, batch.mask == 1)
    text = np.asarray(data["train"].tokens).tobytes()
    row = np.asarray(batch.inputs[0]).astype(np.uint8)
    assert row[row > 0].tobytes() in text


@pytest.fixture
def asked(monkeypatch):
    """What the catalog was asked for, instead of loading it."""
    calls = []

    def load(name, source, **settings):
        calls.append((name, source, settings))
        return dict.fromkeys(SPLITS)

    monkeypatch.setattr(catalog, "load_texts", load)
    return calls


@pytest.mark.parametrize(
    ("family", "num_valid"),
    [
        ("char_rnn_language_model", 3000),
        ("word_rnn_language_model", 10000),
        ("rnn_text_classification", 3000),
    ],
)
def test_slices_for_validation_are_the_familys(family, num_valid, asked):
    name, settings = FAMILIES[family]["dataset"]
    build(family).load_data("embedded")
    more = {"num_train": 9, "num_valid": 8, "just_train": True, "size": 7}
    more = {**settings, **more}
    build(family, dataset=[name, more]).load_data("tfds")
    language = family != "rnn_text_classification"
    loaded = name if language else "imdb_reviews/subwords8k"
    first = {"num_train": None, "num_valid": num_valid, "just_train": False}
    first = {**first, "size": None}
    # Only language models train on everything where just_train says so.
    second = {"num_train": 9, "num_valid": 8, "just_train": language, "size": 7}
    assert asked == [(loaded, "embedded", first), (loaded, "tfds", second)]


def test_published_names_are_known_sets():
    for encoding in ("bytes", "subwords8k"):
        for seed in range(60):
            rng = np.random.RandomState(seed)
            name, _ = samplers.language_dataset(rng, encoding, 160)
            assert catalog.text_set(name).encoding == encoding


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 1}, "vocab_size must be an integer >= 2, got 1"),
        ({"embed_dim": 2.0}, "embed_dim must be an integer >= 1, got 2.0"),
        ({"w_init": ["xavier", None]}, "w_init: unknown initializer 'xavier'"),
        ({"trainable_init": 1}, "trainable_init must be true or false, got 1"),
        ({"core": ["rnn", {}]}, "unknown core: 'rnn'"),
        ({"dataset": "lm1b/bytes"}, "dataset must be .*, got 'lm1b/bytes'"),
        ({"embedding": 3}, "unknown key: 'embedding'"),
    ],
)
def test_a_bad_value_is_named(family, change, message):
    with pytest.raises(ValueError, match=f"{family}: .*{message}"):
        build(family, **change)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_length": 1}, "patch_length must be an integer >= 2, got 1"),
        ({"num_train": 0}, "num_train must be an integer >= 1 or null, got 0"),
        ({"num_valid": None}, "num_valid must be an integer >= 1, got None"),
        ({"just_train": "no"}, "just_train must be true or false, got 'no'"),
        ({"shuffle": 3}, "unknown key: 'shuffle'"),
    ],
)
def test_a_bad_setting_of_the_data_is_named(family, change, message):
    name, settings = FAMILIES[family]["dataset"]
    with pytest.raises(ValueError, match=f"{family}: dataset {name}: {message}"):
        build(family, dataset=[name, {**settings, **change}])


def test_other_bad_values_are_named():
    with pytest.raises(ValueError, match="unknown text set: 'lm1b/byte'"):
        build("char_rnn_language_model", dataset=["lm1b/byte", LANGUAGE["dataset"][1]])
    with pytest.raises(ValueError, match="masked must be true or false, got 'yes'"):
        build("char_rnn_language_model", masked="yes")
    with pytest.raises(ValueError, match="unknown loss_compute: 'mean'"):
        build("rnn_text_classification", loss_compute="mean")
    settings = {**CLASSIFIER["dataset"][1], "max_token": 1}
    with pytest.raises(ValueError, match="max_token must be an integer >= 2, got 1"):
        build("rnn_text_classification", dataset=["imdb_reviews/bytes", settings])
