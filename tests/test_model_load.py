"""Loading: safetensors only, no code from model folders, nothing random by accident."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file

from nissl.errors import ModelError, SettingError
from nissl.extraction import extract
from nissl.model import known_models, load_model


def weights_of(model) -> dict[str, torch.Tensor]:
    return dict(model.model.named_parameters())


def rewrite(folder, change):
    """Load the weights, let ``change`` edit the dictionary, save them again."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_minilm_by_alias():
    model = load_model("minilm")
    assert (model.dtype, model.max_length, model.missing) == ("float32", 512, ())
    assert not model.model.training
    assert not any(p.requires_grad for p in model.model.parameters())
    assert [known.alias for known in known_models()] == ["minilm"]
    # The sentence encoder knows that these two belong together, and those do not.
    texts = ["A man eats pasta.", "Someone is eating food.", "The stock market fell."]
    given = model.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model.model(**given).last_hidden_state
    mask = given["attention_mask"][:, :, None]
    mean = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    near, far = float(mean[0] @ mean[1]), float(mean[0] @ mean[2])
    assert near > 0.4 > 0.2 > far


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_parameters_are_those_of_the_file(kind):
    model = load_model(tiny.folder(kind))
    stored = load_file(tiny.folder(kind) / "model.safetensors")
    matched = 0
    for name, value in weights_of(model).items():
        found = stored.get(name, stored.get(f"encoder.{name}", stored.get("shared.weight")))
        assert found is not None
        torch.testing.assert_close(value, found, rtol=0, atol=0)
        matched += 1
    assert matched >= 20
    assert model.max_length == tiny.LENGTH


def test_longest_input_runs_and_one_more_does_not():
    for kind in ("bert", "roberta", "distilbert", "gpt2"):
        model = tiny.loaded(kind)
        assert model.max_length is not None
        ids = torch.full((1, model.max_length), 7)
        with torch.inference_mode():
            model.model(input_ids=ids)
            if kind != "roberta":  # its table has a spare row: see config in tiny_models
                with pytest.raises((IndexError, RuntimeError)):
                    model.model(input_ids=torch.full((1, model.max_length + 1), 7))


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_pickled_weights_are_refused_unread(tmp_path, name):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    # Reading this pickle would leave a file behind.
    spy = tmp_path / "ran"
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch " + str(spy).encode() + b"'\ntR.")
    with pytest.raises(ModelError, match=rf"only pickled weights \({name}\).*can run code"):
        load_model(folder)
    assert not spy.exists()
    assert load_model(folder, random_init=True).random_init


def test_safetensors_beside_pickle_are_taken(tmp_path):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert load_model(folder).fingerprint == tiny.loaded("bert").fingerprint


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda d: (d / "model.safetensors").unlink(),
            r"model: has no weights \(no \*.safetensors\)",
        ),
        (lambda d: (d / "config.json").unlink(), "model: has no config.json"),
        (
            lambda d: (d / "config.json").write_text("{"),
            "the configuration of model .* cannot be loaded",
        ),
        (
            lambda d: (d / "tokenizer.json").write_text("{"),
            "the tokenizer of model .* cannot be loaded",
        ),
        (
            lambda d: (d / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense"),
            "the model of model .* cannot be loaded",
        ),
    ],
)
def test_broken_folders(tmp_path, harm, message):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    harm(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_quick_and_clear(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.perf_counter()
    with pytest.raises(ModelError, match=r'hub cannot be reached.*Did you mean "minilm"') as caught:
        load_model("minilmm")
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match='model "nobody/no-such-model" is no folder'):
        load_model("nobody/no-such-model")
    (tmp_path / "my-model").mkdir()
    with pytest.raises(ModelError, match=r'no such model folder. Did you mean "my-model"'):
        load_model("./my-modle")
    with pytest.raises(ModelError, match="no such model folder"):
        load_model("some/deep/folder")
    (tmp_path / "weights").write_text("x")
    with pytest.raises(ModelError, match="is a file; name the folder"):
        load_model("weights")


def test_settings_are_checked():
    with pytest.raises(SettingError, match=r'dtype "float31" is none of .*Did you mean "float32"'):
        load_model(tiny.folder("bert"), dtype="float31")
    with pytest.raises(SettingError, match='device "tpu9" cannot be used here'):
        load_model(tiny.folder("bert"), device="tpu9")
    with pytest.raises(SettingError, match="is a folder, which has no revision"):
        load_model(tiny.folder("bert"), revision="main")


@pytest.mark.parametrize("random_init", [False, True])
@pytest.mark.parametrize("model_type", ["bert", "my-own"])
def test_code_beside_the_weights_never_runs(tmp_path, random_init, model_type):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    spy = tmp_path / "ran"
    (folder / "evil.py").write_text(
        f"open({str(spy)!r}, 'w').close()\n"
        "from transformers import BertConfig as MyConfig, BertModel as MyModel\n"
        "from transformers import PreTrainedTokenizerFast as MyTokenizer\n"
    )
    for name, remote in (
        ("config.json", {"AutoConfig": "evil.MyConfig", "AutoModel": "evil.MyModel"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.MyTokenizer", "evil.MyTokenizer"]}),
    ):
        settings = json.loads((folder / name).read_text())
        settings["auto_map"] = remote
        if name == "config.json":
            settings["model_type"] = model_type
        (folder / name).write_text(json.dumps(settings))
    if model_type == "bert":
        model = load_model(folder, random_init=random_init)
        assert type(model.model).__module__.startswith("transformers.")
    else:
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_model(folder, random_init=random_init)
    assert not spy.exists()


# Weights that are not there ---------------------------------------------------------------------


def test_missing_pooler_does_no_harm_and_is_recorded(tmp_path):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    rewrite(folder, lambda w: [w.pop(k) for k in list(w) if k.startswith("pooler")])
    model = load_model(folder)
    assert model.missing == ("pooler.dense.bias", "pooler.dense.weight")
    # What is random by omission must not change the model's identity from run to run.
    other = load_model(folder, seed=1)
    drawn = "pooler.dense.weight"
    assert not torch.equal(weights_of(other)[drawn], weights_of(model)[drawn])
    assert other.fingerprint == model.fingerprint
    a = extract(tiny.corpus(), model, progress=False).matrix()
    b = extract(tiny.corpus(), tiny.loaded("bert"), progress=False).matrix()
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("bert", "encoder.layer.1.output.dense.weight"),
        ("bert", "embeddings.LayerNorm.bias"),
        ("bert", "encoder.layer.2.output.LayerNorm.weight"),
        ("gpt2", "h.0.attn.c_proj.weight"),
        ("gpt2", "wpe.weight"),
        ("llama", "layers.2.mlp.gate_proj.weight"),
        ("t5", "shared.weight"),
        ("t5", "encoder.block.1.layer.0.SelfAttention.q.weight"),
    ],
)
def test_missing_weights_that_sites_need_are_an_error(tmp_path, kind, key):
    folder = tiny.copy_folder(kind, tmp_path / "model")
    rewrite(folder, lambda w: w.pop(key))
    with pytest.raises(
        ModelError, match=r"the weights of model .* lack .*which would be random"
    ) as caught:
        load_model(folder)
    assert key in str(caught.value) or kind == "t5"


@pytest.mark.parametrize(
    ("kind", "key"),
    [("gpt2", "ln_f.weight"), ("llama", "norm.weight"), ("t5", "decoder.final_layer_norm.weight")],
)
def test_missing_weights_after_the_last_block_do_no_harm(tmp_path, kind, key):
    folder = tiny.copy_folder(kind, tmp_path / "model")
    rewrite(folder, lambda w: w.pop(key))
    model = load_model(folder)
    assert model.missing == (key,)
    a = extract(tiny.corpus(), model, progress=False).matrix()
    b = extract(tiny.corpus(), tiny.loaded(kind), progress=False).matrix()
    np.testing.assert_array_equal(a, b)


def test_weights_of_another_architecture(tmp_path):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    (folder / "model.safetensors").write_bytes(
        (tiny.folder("gpt2") / "model.safetensors").read_bytes()
    )
    with pytest.raises(ModelError, match=r"lack .* and \d+ more.*does not fit its config.json"):
        load_model(folder)


def test_weights_of_another_shape(tmp_path):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    settings["intermediate_size"] = 24
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder)


# Random weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_random_weights(kind):
    trained = weights_of(tiny.loaded(kind))
    one = load_model(tiny.folder(kind), random_init=True, seed=101)
    same = load_model(tiny.folder(kind), random_init=True, seed=101)
    two = load_model(tiny.folder(kind), random_init=True, seed=102)
    a, b, c = weights_of(one), weights_of(same), weights_of(two)
    assert a.keys() == trained.keys()
    drawn = 0
    for name, value in a.items():
        assert torch.equal(value, b[name]), "the seed decides"
        assert not torch.equal(value, trained[name]), f"{name} is the trained one"
        if value.std() > 0 and value.dim() > 1:  # matrices are drawn; gains are 1, biases are 0
            assert not torch.equal(value, c[name])
            # No matrix has anything of the trained one.
            r = np.corrcoef(value.flatten().numpy(), trained[name].flatten().numpy())[0, 1]
            assert abs(r) < 0.4
            drawn += 1
        else:
            assert len(set(value.flatten().tolist())) == 1
    assert drawn >= 4 * tiny.BLOCKS
    assert one.random_init
    assert "random weights" in repr(one)
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, two.fingerprint, tiny.loaded(kind).fingerprint}) == 3


def test_minilm_with_random_weights():
    trained = weights_of(load_model("minilm"))
    fresh = weights_of(load_model("minilm", random_init=True))
    for name, value in fresh.items():
        if value.std() > 0:
            r = np.corrcoef(value.flatten().numpy(), trained[name].flatten().numpy())[0, 1]
            assert abs(r) < 0.1, f"{name} resembles the trained one"
    word = fresh["embeddings.word_embeddings.weight"]
    assert 0.019 < float(word.std()) < 0.021  # initializer_range of its config


@pytest.mark.parametrize("random_init", [False, True])
def test_loading_leaves_the_random_state_alone(tmp_path, random_init):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    rewrite(folder, lambda w: w.pop("pooler.dense.weight"))  # makes the library draw
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    load_model(folder, random_init=random_init, seed=9)
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("random_init", [False, True])
def test_dtypes(tmp_path, random_init):
    for dtype in ("float32", "float16", "bfloat16"):
        model = load_model(tiny.folder("bert"), dtype=dtype, random_init=random_init)
        assert model.dtype == dtype
        assert {p.dtype for p in model.model.parameters()} == {getattr(torch, dtype)}
    folder = tiny.copy_folder("bert", tmp_path / "half")
    rewrite(folder, lambda w: w.update({k: v.to(torch.bfloat16) for k, v in w.items()}))
    settings = json.loads((folder / "config.json").read_text())
    settings["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(settings))
    assert load_model(folder, random_init=random_init).dtype == "bfloat16"


# Identity ---------------------------------------------------------------------------------------


def test_fingerprint_follows_the_weights_and_nothing_else(tmp_path):
    folder = tiny.copy_folder("bert", tmp_path / "moved")
    settings = json.loads((folder / "config.json").read_text())
    settings["transformers_version"] = "9.9.9"
    (folder / "config.json").write_text(json.dumps(settings))
    assert load_model(folder).fingerprint == tiny.loaded("bert").fingerprint

    def nudge(weights):
        weights["encoder.layer.0.output.dense.bias"][3] += 1e-3

    rewrite(folder, nudge)
    assert load_model(folder).fingerprint != tiny.loaded("bert").fingerprint
