"""The same model elsewhere; spread over devices; quantised; and random weights of every kind."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file

from nissl.errors import ModelError, SettingError
from nissl.model import LoadSpec, capture, find_sites, load_model, load_spec, run


@pytest.mark.parametrize("kind", ["bert", "t5", "wav2vec2"])
def test_specification_loads_the_same_model(kind):
    for options in ({}, {"random_init": True, "seed": 7}, {"dtype": "bfloat16"}):
        first = load_model(tiny.folder(kind), **options)
        spec = pickle.loads(pickle.dumps(first.spec))  # noqa: S301
        assert spec == first.spec
        second = load_spec(spec)
        assert second.fingerprint == first.fingerprint
        assert (second.dtype, second.random_init) == (first.dtype, first.random_init)
        assert second.spec == first.spec


def test_specification_is_frozen():
    spec = tiny.loaded("bert").spec
    assert isinstance(spec, LoadSpec)
    assert (spec.dtype, spec.device, spec.seed) == ("auto", "cpu", 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.seed = 1


# Several devices, and quantised weights ---------------------------------------------------------


def test_device_map(monkeypatch):
    pytest.importorskip("accelerate")
    plain = tiny.loaded("bert")
    for how in ("auto", {"": "cpu"}):
        spread = load_model(tiny.folder("bert"), device_map=how)
        assert spread.fingerprint == plain.fingerprint
        assert (spread.device, spread.spec.device_map) == ("cpu", how)
        ids, mask = tiny.ids_of([[5, 6, 7], [8]])
        sites = find_sites(spread)
        for model in (plain, spread):
            with torch.inference_mode(), capture(model, sites) as seen:
                run(model, ids, mask)
                values = seen["hidden.3"].clone()
            if model is plain:
                want = values
        torch.testing.assert_close(values, want)


def test_offloaded_weights_have_the_same_identity(tmp_path):
    pytest.importorskip("accelerate")
    from accelerate import cpu_offload

    from nissl.model.identity import fingerprint

    loaded = load_model(tiny.folder("bert"))
    want = fingerprint(loaded.model, loaded.model.config, ())
    model = cpu_offload(loaded.model, execution_device=torch.device("cpu"))
    assert next(model.parameters()).device.type == "meta"
    assert fingerprint(model, model.config, ()) == want
    ids, mask = tiny.ids_of([[5, 6, 7], [8]])
    sites = find_sites(model)
    with torch.inference_mode(), capture(model, sites, keep=lambda s, t: t.clone()) as seen:
        run(model, ids, mask)
        values = dict(seen)
    with torch.inference_mode(), capture(tiny.loaded("bert"), sites) as seen:
        run(tiny.loaded("bert"), ids, mask)
        for name, value in values.items():
            torch.testing.assert_close(value, seen[name])


@pytest.mark.parametrize(("quantize", "near"), [("8bit", 0.1), ("4bit", 0.4)])
def test_quantised_weights(tmp_path, quantize, near):
    pytest.importorskip("bitsandbytes")
    import transformers

    # Its kernels take widths that are multiples of 64.
    settings = tiny.config("llama", len(tiny.tokenizer("llama")))
    settings.hidden_size = settings.intermediate_size = 128
    settings.head_dim, settings.initializer_range = 64, 0.1
    transformers.AutoModel.from_config(settings).save_pretrained(tmp_path)
    tiny.tokenizer("llama").save_pretrained(tmp_path)
    plain = load_model(tmp_path)
    small = load_model(tmp_path, quantize=quantize, dtype="bfloat16")
    assert small.dtype == "bfloat16"
    assert load_spec(small.spec).fingerprint == small.fingerprint != plain.fingerprint
    ids, mask = tiny.ids_of([[5, 6, 7]])
    values = []
    for model in (plain, small):
        sites = find_sites(model, ["hidden", "mlp", "head"])
        assert len(sites) == 10
        with torch.inference_mode(), capture(model, sites, keep=lambda s, t: t.float()) as seen:
            run(model, ids, mask)
            values.append(seen["mlp.2"])
    assert 0 < float((values[0] - values[1]).norm() / values[0].norm()) < near


def test_packages_that_are_not_there(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name in ("accelerate", "bitsandbytes") else found(name, *a),
    )
    with pytest.raises(
        SettingError, match="device_map needs the package accelerate: pip install accelerate"
    ):
        load_model(tiny.folder("bert"), device_map="auto")
    with pytest.raises(SettingError, match=r"quantize needs .*: pip install accelerate bitsandb"):
        load_model(tiny.folder("bert"), quantize="8bit")


def test_impossible_settings():
    with pytest.raises(SettingError, match=r'quantize is one of 8bit, 4bit, not "8bits".*"8bit"'):
        load_model(tiny.folder("bert"), quantize="8bits")
    with pytest.raises(SettingError, match=r"random weights .* leave quantize out"):
        load_model(tiny.folder("bert"), quantize="4bit", random_init=True)
    with pytest.raises(SettingError, match=r"random weights .* leave device_map out"):
        load_model(tiny.folder("bert"), device_map="auto", random_init=True)


# Models without a tokenizer ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5", "deberta", "xlnet", "bart"])
def test_text_needs_a_tokenizer(tmp_path, kind):
    """The library makes up a tokenizer without words for some: all would be unknown."""
    folder = tiny.copy_folder(kind, tmp_path / "text")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_model(folder)


def test_speech_needs_none(tmp_path):
    for kind in tiny.SPEECH:
        loaded = tiny.loaded(kind)
        assert (loaded.tokenizer, loaded.max_length) == (None, None)
    folder = tiny.copy_folder("whisper", tmp_path / "speech")
    tiny.tokenizer("gpt2").save_pretrained(folder)
    assert load_model(folder).tokenizer.is_fast


# Random weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tiny.ALL)
def test_random_weights_are_none_of_the_checkpoint(kind):
    stored = load_file(tiny.folder(kind) / "model.safetensors")
    one, same, two = (
        dict(load_model(tiny.folder(kind), random_init=True, seed=s).model.named_parameters())
        for s in (101, 101, 102)
    )
    trained = dict(tiny.loaded(kind).model.named_parameters())
    drawn = 0
    for name, value in one.items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, same[name]), f"{name}: the seed decides"
        assert not torch.equal(value, trained[name])
        if value.numel() < 2 or value.std() == 0:
            continue  # gains and biases start at one number, whatever the seed
        if (kind, name) == ("whisper", "encoder.embed_positions.weight"):
            continue  # sines, never trained
        assert not torch.equal(value, two[name]), f"{name} is the same for all seeds"
        if value.numel() < 64:
            continue  # too few to tell chance from likeness
        for other, old in stored.items():
            if old.shape == value.shape:
                r = np.corrcoef(value.flatten().numpy(), old.float().flatten().numpy())[0, 1]
                assert abs(r) < 6 / np.sqrt(value.numel()), f"{name} resembles {other}"
        drawn += 1
    assert drawn >= 3


def test_parameter_that_the_architecture_forgets_is_drawn(monkeypatch):
    """What a library leaves unset would be what lay in memory: a checkpoint, perhaps."""
    import transformers

    made = transformers.BertModel._init_weights

    def forget(self, module):
        made(self, module)
        if isinstance(module, torch.nn.Linear) and module.weight.shape == (tiny.MLP, tiny.WIDTH):
            module.weight.data = torch.empty((tiny.MLP, tiny.WIDTH))

    monkeypatch.setattr(transformers.BertModel, "_init_weights", forget)
    one, same, two = (
        load_model(tiny.folder("bert"), random_init=True, seed=s).model for s in (1, 1, 2)
    )
    values = [m.encoder.layer[0].intermediate.dense.weight for m in (one, same, two)]
    assert 0.2 < float(values[0].std()) < 0.8
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert not torch.are_deterministic_algorithms_enabled()
