"""Running and watching models of every architecture: padding, order, early stops, hooks gone."""

from __future__ import annotations

import pickle

import pytest
import tiny_models as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import ModelError
from nissl.model import (
    all_sites,
    capture,
    find_sites,
    mixes_padding,
    offset,
    run,
    run_inputs,
    wrap_model,
)

ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14], [15], [20, 21, 22, 23, 24]]


def watched(loaded, ids, mask, sites, **options):
    """Run once and return clones of what the sites gave."""
    with (
        torch.inference_mode(),
        capture(loaded, sites, keep=lambda s, t: t.clone(), **options) as seen,
    ):
        run(loaded, ids, mask)
        return dict(seen)


def differ(many, one, sites, row, length):
    """Largest difference of a sentence's values, relative to the largest value but at least 1."""
    worst = 0.0
    for site in sites:
        first = offset(site)
        a = many[site.name][row, first : first + length]
        b = one[site.name][0, first : first + length]
        assert a.shape == b.shape == (length, site.width)
        worst = max(worst, float((a - b).abs().max()) / max(1.0, float(b.abs().max())))
    return worst


# As many sentences as tokens, too: then shapes do not tell batch from length.
@pytest.mark.parametrize(("rows", "extra"), [(ROWS, 0), (ROWS, 4), ([r[:4] for r in ROWS], 0)])
@pytest.mark.parametrize("kind", tiny.TEXT)
def test_padding_and_batch_change_nothing(kind, rows, extra):
    loaded = tiny.loaded(kind)
    sites = all_sites(loaded)[0]
    many = watched(loaded, *tiny.ids_of(rows, extra), sites)
    for i, row in enumerate(rows):
        one = watched(loaded, *tiny.ids_of([row]), sites)
        assert differ(many, one, sites, i, len(row)) < 1e-5


@settings(max_examples=15)
@given(
    kind=st.sampled_from(["bert", "xlnet", "bloom", "t5", "bart", "mixtral", "deberta"]),
    rows=st.lists(st.lists(st.integers(4, 60), min_size=1, max_size=9), min_size=1, max_size=5),
    extra=st.integers(0, 3),
)
def test_padding_changes_nothing_whatever_the_sentences(kind, rows, extra):
    loaded = tiny.loaded(kind)
    sites = all_sites(loaded)[0]
    many = watched(loaded, *tiny.ids_of(rows, extra), sites)
    for i, row in enumerate(rows):
        one = watched(loaded, *tiny.ids_of([row]), sites)
        assert differ(many, one, sites, i, len(row)) < 1e-5


def test_layout_is_known_without_looking_for_sites_first():
    """A worker is given sites: XLNet's length-first stream must be told from its batch."""
    sites = pickle.loads(pickle.dumps(find_sites(tiny.loaded("xlnet"))))  # noqa: S301
    fresh = tiny.load_model(tiny.folder("xlnet"))
    rows = [r[:3] for r in ROWS[:2]] + [[7, 8]]
    square = watched(fresh, *tiny.ids_of(rows), sites)
    for i, row in enumerate(rows):
        one = watched(fresh, *tiny.ids_of([row]), sites)
        assert differ(square, one, sites, i, len(row)) < 1e-5


@pytest.mark.parametrize("kind", tiny.DECODERS)
def test_decoders_do_not_see_what_follows(kind):
    loaded = tiny.loaded(kind)
    sites = all_sites(loaded)[0]
    a = watched(loaded, *tiny.ids_of([[5, 6, 7, 8]]), sites)
    b = watched(loaded, *tiny.ids_of([[5, 6, 9, 8]]), sites)
    for site in sites:
        torch.testing.assert_close(a[site.name][:, :2], b[site.name][:, :2], rtol=1e-4, atol=1e-4)
        if site.kind == "hidden":
            assert float((a[site.name][:, 2] - b[site.name][:, 2]).abs().max()) > 1e-2


@pytest.mark.parametrize("kind", tiny.BOTH)
def test_decoder_reads_the_start_and_then_every_token(kind):
    loaded = tiny.loaded(kind)
    sites = find_sites(loaded)
    assert {offset(s) for s in sites if s.stack == "decoder"} == {1}
    assert {offset(s) for s in sites if s.stack == "encoder"} == {0}
    a = watched(loaded, *tiny.ids_of([[5, 6, 7, 8]]), sites)
    b = watched(loaded, *tiny.ids_of([[5, 6, 7, 9]]), sites)
    assert a["encoder.hidden.0"].shape[1] == 4
    assert a["decoder.hidden.0"].shape[1] == 5
    moved = (a["decoder.hidden.0"] - b["decoder.hidden.0"]).abs().amax(dim=(0, 2)) > 1e-4
    assert moved.tolist() == [False, False, False, False, True]
    start = loaded.model.config.decoder_start_token_id if kind == "bart" else 0
    words = loaded.model.get_input_embeddings().weight
    if kind == "t5":
        torch.testing.assert_close(
            a["decoder.hidden.0"][0], words[torch.tensor([start, 5, 6, 7, 8])]
        )


def test_longest_input_of_a_model_with_two_position_tables():
    loaded = tiny.loaded("bart")
    assert loaded.max_length == tiny.LENGTH - 1
    ids = torch.full((1, loaded.max_length), 7)
    sites = find_sites(loaded)
    got = watched(loaded, ids, torch.ones_like(ids), sites)
    assert got["decoder.hidden.2"].shape == (1, tiny.LENGTH, tiny.WIDTH)
    more = torch.full((1, loaded.max_length + 2), 7)
    with pytest.raises((IndexError, RuntimeError)):
        run(loaded, more, torch.ones_like(more))


def test_nothing_is_cached():
    for kind in ("gpt2", "llama", "t5", "bart"):
        ids, mask = tiny.ids_of(ROWS)
        with torch.inference_mode():
            assert run(tiny.loaded(kind), ids, mask).past_key_values is None


# Early stops and hooks --------------------------------------------------------------------------


def started(model):
    """Note which modules start."""
    names: list[str] = []
    handles = [
        part.register_forward_pre_hook(lambda m, a, name=name: names.append(name))
        for name, part in model.named_modules()
    ]
    return names, handles


@pytest.mark.parametrize(
    ("kind", "wanted", "runs", "not_run"),
    [
        ("bert", ["hidden.0", "hidden.1"], "encoder.layer.0", "encoder.layer.1"),
        ("llama", ["mlp.2"], "layers.1.mlp", "layers.2"),
        ("t5", ["encoder.hidden.3"], "encoder.block.2", "decoder"),
        ("bart", ["encoder.mlp.3", "encoder.head.1"], "encoder.layers.2", "decoder"),
        ("mixtral", ["mlp.1"], "layers.0.mlp", "layers.1"),
    ],
)
def test_a_pass_ends_when_all_is_seen(kind, wanted, runs, not_run):
    loaded = tiny.loaded(kind)
    sites = [site for site in all_sites(loaded)[0] if site.name in wanted]
    ids, mask = tiny.ids_of(ROWS)
    whole = watched(loaded, ids, mask, sites)
    names, handles = started(loaded.model)
    try:
        with torch.inference_mode(), capture(loaded, sites, stop=True) as seen:
            for _ in range(2):
                names.clear()
                assert run(loaded, ids, mask) is None
                assert set(seen) == set(wanted)
                assert runs in names
                assert not any(name.startswith(not_run) for name in names)
                for name, values in whole.items():
                    torch.testing.assert_close(seen[name], values)
    finally:
        for handle in handles:
            handle.remove()


def test_shared_layers_stop_at_their_call():
    loaded = tiny.loaded("albert")
    site = next(s for s in find_sites(loaded) if s.name == "hidden.2")
    ids, mask = tiny.ids_of(ROWS)
    whole = watched(loaded, ids, mask, [site])
    names, handles = started(loaded.model)
    early = watched(loaded, ids, mask, [site], stop=True)
    for handle in handles:
        handle.remove()
    assert names.count(site.module) == 2
    torch.testing.assert_close(early["hidden.2"], whole["hidden.2"])


def test_weights_that_are_moved_about_are_not_left_in_the_middle():
    loaded = tiny.load_model(tiny.folder("bert"))
    loaded.model.hf_device_map = {"encoder": "cpu"}
    ids, mask = tiny.ids_of(ROWS)
    with torch.inference_mode(), capture(loaded, find_sites(loaded)[:1], stop=True):
        assert run(loaded, ids, mask) is not None


def test_keep_is_given_the_site():
    loaded = tiny.loaded("t5")
    sites = all_sites(loaded)[0]
    got = []
    ids, mask = tiny.ids_of(ROWS)
    with (
        torch.inference_mode(),
        capture(loaded, sites, keep=lambda s, t: got.append((s, tuple(t.shape)))),
    ):
        run(loaded, ids, mask)
    assert {s for s, _ in got} == set(sites)
    assert len(got) == len(sites)
    for site, shape in got:
        assert shape == (4, 7 + offset(site), site.width)


@pytest.mark.parametrize("ending", ["plain", "stop", "error"])
@pytest.mark.parametrize("kind", ["bert", "albert", "t5", "mixtral"])
def test_all_hooks_are_gone(kind, ending):
    # Its own: transformers leaves hooks on a model that was asked for its hidden states.
    loaded = tiny.load_model(tiny.folder(kind))
    sites = all_sites(loaded)[0]
    ids, mask = tiny.ids_of(ROWS)

    def keep(site, tensor):
        if ending == "error" and site.kind == "mlp":
            raise KeyError("keep")

    try:
        with capture(loaded, sites, keep=keep, stop=ending == "stop") as seen:
            run(loaded, ids, mask)
            assert seen
    except KeyError:
        assert ending == "error"
    assert not seen
    for module in loaded.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_site_of_another_width_is_refused():
    loaded = tiny.loaded("bert")
    site = next(s for s in all_sites(loaded)[0] if s.name == "mlp.1")
    wrong = type(site)("mlp", 1, site.module, "input", 41)
    with (
        pytest.raises(ModelError, match=r"site mlp.1 is 41 wide.*find_sites"),
        capture(loaded, [wrong]),
    ):
        run(loaded, *tiny.ids_of(ROWS))


# Speech -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_speech_encoders(kind):
    loaded = tiny.loaded(kind)
    assert loaded.tokenizer is None
    sites = all_sites(loaded)[0]
    audio = torch.randn((2, 400), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), capture(loaded, sites) as seen:
        run_inputs(loaded, {"input_values": audio})
        frames = seen["hidden.0"].shape[1]
        assert frames > 30
        for site in sites:
            assert seen[site.name].shape == (2, frames, site.width)
    with pytest.raises(ModelError, match="takes input_values, not text"):
        run(loaded, *tiny.ids_of(ROWS))


def test_speech_with_a_decoder():
    loaded = tiny.loaded("whisper")
    sites = all_sites(loaded)[0]
    audio = torch.randn((2, 8, 60), generator=torch.Generator().manual_seed(1))
    said = torch.tensor([[2, 9, 8], [2, 7, 7]])
    with torch.inference_mode(), capture(loaded, sites) as seen:
        run_inputs(loaded, {"input_features": audio, "decoder_input_ids": said})
        for site in sites:
            length = 30 if site.stack == "encoder" else 3
            assert seen[site.name].shape == (2, length, site.width)
        run_inputs(loaded, {"input_features": audio})  # the start token alone
        assert seen["decoder.mlp.1"].shape == (2, 1, tiny.MLP)
    early = [site for site in sites if site.stack == "encoder"]
    with torch.inference_mode(), capture(loaded, early, stop=True) as seen:
        assert run_inputs(loaded, {"input_features": audio}) is None
        assert len(seen) == len(early)


# Modules of one's own ---------------------------------------------------------------------------


def test_wrapped_modules():
    import transformers

    torch.manual_seed(0)
    words = tiny.tokenizer("gpt2")
    words.padding_side = "left"
    module = transformers.GPT2LMHeadModel(tiny.config("gpt2", len(words))).train()
    loaded = wrap_model(module, words, name="mine", max_length=30)
    assert (loaded.name, loaded.max_length, loaded.spec) == ("mine", 30, None)
    assert (loaded.tokenizer.padding_side, module.training) == ("right", False)
    assert find_sites(loaded)[-1].module == "transformer.h.2"
    many = watched(loaded, *tiny.ids_of(ROWS), find_sites(loaded))
    one = watched(loaded, *tiny.ids_of(ROWS[1:2]), find_sites(loaded))
    assert differ(many, one, find_sites(loaded), 1, 3) < 1e-5
    again = wrap_model(module, words, name="other")
    assert again.fingerprint == loaded.fingerprint
    module.transformer.h[0].mlp.c_fc.bias.data += 0.1
    assert wrap_model(module, words, name="other").fingerprint != loaded.fingerprint
    with pytest.raises(ModelError, match='model "slow" has no fast tokenizer'):
        wrap_model(module, object(), name="slow")
    with pytest.raises(ModelError, match="has no parameters"):
        wrap_model(torch.nn.Identity(), None, name="empty")


# Padding that is mixed in, or added -------------------------------------------------------------


def _small(name, **options):
    import transformers

    torch.manual_seed(0)
    settings = getattr(transformers, f"{name}Config")(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        max_position_embeddings=64,
        pad_token_id=0,
        **options,
    )
    return transformers.AutoModel.from_config(settings).eval()


def test_which_models_mix_padding_in():
    for kind in ("bert", "xlnet", "bloom", "t5", "bart", "mixtral"):
        assert not mixes_padding(tiny.loaded(kind))
    assert not mixes_padding(tiny.load_model(tiny.folder("llama"), dtype="bfloat16"))
    assert mixes_padding(_small("FNet"))
    assert mixes_padding(_small("ConvBert", embedding_size=16))


def test_padding_that_the_model_adds_itself_is_cut_off():
    model = _small("Longformer", attention_window=8)
    sites = all_sites(model)[0]
    many = watched(model, *tiny.ids_of(ROWS), sites)
    for i, row in enumerate(ROWS):
        one = watched(model, *tiny.ids_of([row]), sites)
        assert differ(many, one, sites, i, len(row)) < 1e-5
