"""Sites of thirty architectures, against what transformers returns and against plain formulas."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import tiny_models as tiny
import torch
from torch.nn import functional as F

from nissl.errors import ModelError
from nissl.model import all_sites, capture, find_sites, run_inputs

DECODER_BLOCKS = {"t5": 1, "bart": 2, "whisper": 2}
INNER = {"bloom": 4 * tiny.WIDTH, "falcon": 4 * tiny.WIDTH, "qwen2-moe": 4 * 12}
INNER |= {"mixtral": 4 * tiny.MLP, "gpt-oss": 4 * tiny.MLP}
# Where the last of transformers' hidden states is after a norm, that norm.
NORMS = {
    "esm": {"": "encoder.emb_layer_norm_after"},
    "modernbert": {"": "final_norm"},
    **{kind: {"": "ln_f"} for kind in ("gpt2", "bloom", "falcon")},
    "gpt-neox": {"": "final_layer_norm"},
    "opt": {"": "decoder.final_layer_norm"},
    "phi": {"": "final_layernorm"},
    **{kind: {"": "norm"} for kind, words in tiny.FAMILY.items() if words == "llama"},
    "llama": {"": "norm"},
    "t5": {"encoder": "encoder.final_layer_norm", "decoder": "decoder.final_layer_norm"},
    "whisper": {"encoder": "encoder.layer_norm", "decoder": "decoder.layer_norm"},
}


def inputs_of(kind: str) -> dict[str, torch.Tensor]:
    """A batch of three for a tiny model of any kind, nothing of it padding."""
    noise = torch.Generator().manual_seed(0)
    if kind == "whisper":
        audio = torch.randn((3, 8, 60), generator=noise)
        return {"input_features": audio, "decoder_input_ids": torch.tensor([[2, 9, 8, 7]] * 3)}
    if kind in tiny.SPEECH:
        return {"input_values": torch.randn((3, 400), generator=noise)}
    ids = torch.randint(4, 50, (3, 5), generator=noise)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if kind in tiny.BOTH:
        given["decoder_input_ids"] = torch.cat([torch.full_like(ids[:, :1], 3), ids], dim=1)
    return given


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(b.abs().max())))


def test_many_architectures():
    assert len(tiny.ALL) >= 30
    assert len(set(tiny.ALL)) == len(tiny.ALL)


@pytest.mark.parametrize("kind", tiny.ALL)
def test_names_and_widths(kind):
    sites, why = all_sites(tiny.loaded(kind))
    lacks = {"head", "state"} if kind == "xlnet" else {"state"}
    assert set(why) == lacks
    stacks = {"": tiny.BLOCKS}
    if kind in DECODER_BLOCKS:
        stacks = {"encoder.": tiny.BLOCKS, "decoder.": DECODER_BLOCKS[kind]}
    assert [site.name for site in sites] == [
        f"{stack}{part}.{i}"
        for part in ("hidden", "mlp", "head")
        if part not in lacks
        for stack, blocks in stacks.items()
        for i in range(part != "hidden", blocks + 1)
    ]
    width = {"hidden": tiny.WIDTH, "mlp": INNER.get(kind, tiny.MLP), "head": tiny.WIDTH}
    assert {(s.kind, s.width) for s in sites} == {(s.kind, width[s.kind]) for s in sites}
    # No two sites are one place.
    places = Counter((s.module, s.point, s.call) for s in sites)
    assert max(places.values()) == 1
    assert find_sites(tiny.loaded(kind).model) == find_sites(tiny.loaded(kind))


@pytest.mark.parametrize("kind", tiny.ALL)
def test_hidden_is_what_transformers_returns(kind):
    loaded = tiny.loaded(kind)
    sites = find_sites(loaded)
    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        out = run_inputs(loaded, {**inputs_of(kind), "output_hidden_states": True})
        got = dict(seen)
    stacks = {site.stack for site in sites}
    for stack in stacks:
        want = out.hidden_states if not stack else out[f"{stack}_hidden_states"]
        names = [site.name for site in sites if site.stack == stack]
        assert len(names) == len(want)
        for name, values in zip(names[:-1], want[:-1], strict=True):
            close(got[name], values)
        last = got[names[-1]]
        if stack in NORMS.get(kind, {}):
            assert float((last - want[-1]).abs().max()) > 0.1
            with torch.inference_mode():
                last = loaded.model.get_submodule(NORMS[kind][stack])(last)
        close(last, want[-1])


@pytest.mark.parametrize("kind", tiny.ALL)
def test_mlp_and_head_are_inputs_of_maps_back_to_the_stream(kind):
    """Each is what a linear map of the stream's width is really given, at every call."""
    loaded = tiny.loaded(kind)
    sites = [site for site in all_sites(loaded)[0] if site.kind != "hidden"]
    plain = [site for site in sites if not site.module.endswith("experts")]
    outs: dict[str, list[torch.Tensor]] = {}
    handles = []
    for path in dict.fromkeys(site.module for site in plain):
        module = loaded.model.get_submodule(path)
        handles.append(
            module.register_forward_hook(
                lambda m, a, out, path=path: outs.setdefault(path, []).append(out.clone())
            )
        )
    with torch.inference_mode(), capture(loaded, plain, keep=lambda s, t: t.clone()) as seen:
        run_inputs(loaded, inputs_of(kind))
        got = dict(seen)
    for handle in handles:
        handle.remove()
    for site in plain:
        with torch.inference_mode():
            want = loaded.model.get_submodule(site.module)(got[site.name])
        out = outs[site.module][site.call]
        if kind == "xlnet":
            out = out.transpose(0, 1)
        close(want, out.reshape(want.shape))
        assert got[site.name].dim() == 3


def test_shared_weights_are_calls_of_one_module():
    loaded = tiny.loaded("albert")
    sites = all_sites(loaded)[0]
    assert len({site.module for site in sites}) == 3
    assert [s.call for s in sites if s.kind == "mlp"] == [0, 1, 2]
    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        for _ in range(2):  # calls are counted anew in every pass
            run_inputs(loaded, inputs_of("albert"))
        values = [seen[f"mlp.{i}"] for i in (1, 2, 3)]
    assert all(float((a - b).abs().max()) > 0.05 for a, b in itertools.pairwise(values))


# MLP units by formula ---------------------------------------------------------------------------


def _gated(act, gate: str, up: str):
    def units(part, x):
        return act(part.get_submodule(gate)(x)) * part.get_submodule(up)(x)

    return units


def _plain(act, up: str):
    return lambda part, x: act(part.get_submodule(up)(x))


def _tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


FORMULAS = {
    ("bert", "mlp.2"): ("encoder.layer.1.intermediate", _plain(F.gelu, "dense")),
    ("gpt2", "mlp.2"): ("h.1.mlp", _plain(_tanh_gelu, "c_fc")),
    ("llama", "mlp.2"): ("layers.1.mlp", _gated(F.silu, "gate_proj", "up_proj")),
    ("gemma", "mlp.2"): ("layers.1.mlp", _gated(_tanh_gelu, "gate_proj", "up_proj")),
    ("electra", "mlp.2"): ("encoder.layer.1.intermediate", _plain(F.gelu, "dense")),
    ("gpt-neox", "mlp.2"): ("layers.1.mlp", _plain(F.gelu, "dense_h_to_4h")),
    ("xlnet", "mlp.2"): ("layer.1.ff", _plain(F.gelu, "layer_1")),
    ("t5", "encoder.mlp.2"): (
        "encoder.block.1.layer.1.DenseReluDense",
        _gated(_tanh_gelu, "wi_0", "wi_1"),
    ),
    ("t5", "decoder.mlp.1"): (
        "decoder.block.0.layer.2.DenseReluDense",
        _gated(_tanh_gelu, "wi_0", "wi_1"),
    ),
    ("wav2vec2", "mlp.2"): (
        "encoder.layers.1.feed_forward",
        _plain(F.gelu, "intermediate_dense"),
    ),
}


@pytest.mark.parametrize(("kind", "name"), FORMULAS, ids=str)
def test_mlp_by_formula(kind, name):
    loaded = tiny.loaded(kind)
    path, formula = FORMULAS[kind, name]
    part = loaded.model.get_submodule(path)
    sites = find_sites(loaded, ["mlp"])
    given: list[torch.Tensor] = []
    handle = part.register_forward_pre_hook(lambda m, args: given.append(args[0].clone()))
    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        run_inputs(loaded, inputs_of(kind))
        got = seen[name]
        handle.remove()
        want = formula(part, given[0])
    close(got, want.transpose(0, 1) if kind == "xlnet" else want)


@pytest.mark.parametrize("name", ["encoder.mlp.2", "decoder.mlp.2"])
def test_mlp_of_bart_by_formula(name):
    """Its maps are not in a module of their own: from what the block's second norm gives."""
    loaded = tiny.loaded("bart")
    stack = name.partition(".")[0]
    block = loaded.model.get_submodule(f"{stack}.layers.1")
    norm = block.self_attn_layer_norm if stack == "encoder" else block.encoder_attn_layer_norm
    sites = find_sites(loaded, ["mlp"])
    given: list[torch.Tensor] = []
    handle = norm.register_forward_hook(lambda m, a, out: given.append(out.clone()))
    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        run_inputs(loaded, inputs_of("bart"))
        handle.remove()
        close(seen[name], F.gelu(given[0] @ block.fc1.weight.T + block.fc1.bias))


def test_heads_lie_side_by_side():
    """Silencing a head's values changes that head's neurons and no other's."""
    loaded = tiny.loaded("llama")
    sites = find_sites(loaded, ["head"])[:1]
    value = loaded.model.layers[0].self_attn.q_proj
    size = tiny.WIDTH // tiny.HEADS

    def silence(module, args, out):
        out = out.clone()
        out[..., size:] = 0  # the second head's queries
        return out

    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        run_inputs(loaded, inputs_of("llama"))
        before = seen["head.1"]
        handle = value.register_forward_hook(silence)
        run_inputs(loaded, inputs_of("llama"))
        handle.remove()
        after = seen["head.1"]
    assert torch.equal(before[..., :size], after[..., :size])
    assert float((before[..., size:] - after[..., size:]).abs().max()) > 1e-3


def test_decoder_heads_are_self_attention():
    for kind, path in (
        ("t5", "decoder.block.0.layer.0.SelfAttention.o"),
        ("bart", "decoder.layers.0.self_attn.out_proj"),
        ("whisper", "decoder.layers.0.self_attn.out_proj"),
    ):
        found = {site.name: site.module for site in find_sites(tiny.loaded(kind), ["head"])}
        assert found["decoder.head.1"] == path


def test_encoder_by_itself_has_no_stack_names():
    encoder = tiny.loaded("t5").model.get_encoder()
    assert [site.name for site in find_sites(encoder)] == [f"hidden.{i}" for i in range(4)]


def test_floats_and_sequentials():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.act = torch.nn.Linear(6, 9), torch.nn.Tanh()
            self.down, self.norm = torch.nn.Linear(9, 6), torch.nn.LayerNorm(6)

        def forward(self, x):
            return self.norm(x + self.down(self.act(self.up(x))))

    model = torch.nn.Sequential(
        torch.nn.Embedding(20, 6), torch.nn.Sequential(Block(), Block()), torch.nn.Linear(6, 3)
    )
    sites, why = all_sites(model)
    assert [site.name for site in sites] == ["hidden.0", "hidden.1", "hidden.2", "mlp.1", "mlp.2"]
    assert sites[-1].module == "1.1.down"
    assert set(why) == {"head", "state"}


def test_lists_that_are_no_stack_are_explained():
    class Wide(torch.nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.maps = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(4)))
            self.map = torch.nn.Linear(a, b)

        def forward(self, x):
            return self.map(x)

    model = torch.nn.Sequential(
        torch.nn.Embedding(20, 6), torch.nn.Sequential(Wide(6, 7), Wide(7, 8))
    )
    with pytest.raises(ModelError, match=r"tried 1 \(2 × Wide: its stream has widths 6, 7, 8\)"):
        find_sites(model)
    with pytest.raises(ModelError, match=r"--site module.PATH"):
        find_sites(model)

    class Picky(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([Wide(6, 6)])

        def forward(self, pictures, prompts, boxes):
            raise AssertionError

    with pytest.raises(ModelError, match="a trial forward pass of Picky failed"):
        find_sites(Picky())


# Shapes that mislead ----------------------------------------------------------------------------

SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}


def small(name: str, **options):
    import transformers

    settings = getattr(transformers, f"{name}Config")(**{**SMALL, **options})
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(settings).eval()


def test_parts_of_blocks_in_lists_of_their_own_are_no_stream():
    """XLM keeps its attentions in one list and its MLPs in another."""
    import transformers

    model = transformers.XLMModel(
        transformers.XLMConfig(vocab_size=60, emb_dim=16, n_layers=2, n_heads=2)
    )
    with pytest.raises(ModelError, match="what enters one is not what left the one before"):
        find_sites(model.eval())


def test_module_between_two_blocks_is_allowed_for():
    model = small("DebertaV2", conv_kernel_size=3, relative_attention=True, type_vocab_size=0)
    sites, why = all_sites(model)
    assert [site.name for site in sites if site.kind == "hidden"] == [
        f"hidden.{i}" for i in range(4)
    ]
    assert set(why) == {"state"}


def test_fused_experts_called_in_another_way_are_not_passed_over():
    """Llama 4 runs every expert on weighted tokens; its shared expert alone is not its MLP."""
    model = small(
        "Llama4Text",
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size_mlp=40,
        num_local_experts=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    sites, why = all_sites(model)
    assert {site.kind for site in sites} == {"hidden", "head"}
    assert "fused experts are called in a way that is not known" in why["mlp"]


def test_attention_alone_is_no_mlp():
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (torch.nn.Linear(6, 6) for _ in range(4))

        def forward(self, x):
            q, k, v = self.q(x), self.k(x), self.v(x)
            return x + self.o((q @ k.transpose(1, 2)).softmax(-1) @ v)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word = torch.nn.Embedding(20, 6)
            self.blocks = torch.nn.ModuleList(Attention() for _ in range(3))

        def forward(self, input_ids):
            x = self.word(input_ids)
            for block in self.blocks:
                x = block(x)
            return x

    sites, why = all_sites(Model())
    assert {site.kind for site in sites} == {"hidden"}
    assert "o (6→6)" in why["mlp"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GPTJ", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_inner": 40, "rotary_dim": 4}),
        ("Olmo2", {"num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 2}),
        ("Cohere", {"num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 2}),
        ("Starcoder2", {"num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 2}),
        ("RoFormer", {"embedding_size": 16}),
        ("BigBird", {"attention_type": "original_full"}),
        ("Wav2Vec2Conformer", {"num_conv_pos_embedding_groups": 2}),
        ("Speech2Text", {"d_model": 16, "encoder_layers": 3, "decoder_layers": 3}),
    ],
)
def test_architectures_that_no_one_listed(name, options):
    sites, why = all_sites(small(name, **options))
    assert set(why) == {"state"}
    per = Counter(site.kind for site in sites if site.stack != "decoder")
    assert per == {"hidden": 4, "mlp": 3, "head": 3}
