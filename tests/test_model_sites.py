"""Sites are found by structure, for shapes that mislead too."""

from __future__ import annotations

import pytest
import tiny_models as tiny
import torch
import transformers

from nissl.errors import ModelError, SettingError
from nissl.model import find_sites
from nissl.model.sites import called_before_last_block

KINDS = ("hidden", "mlp", "head")


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_all_kinds_of_all_families(kind):
    sites = find_sites(tiny.loaded(kind), KINDS)
    names = [site.name for site in sites]
    stacks = {"": tiny.BLOCKS} if kind != "t5" else {"encoder.": tiny.BLOCKS, "decoder.": 1}
    assert names == [
        f"{stack}{part}.{i}"
        for part in KINDS
        for stack, blocks in stacks.items()
        for i in range(part != "hidden", blocks + 1)
    ]
    width = {"hidden": tiny.WIDTH, "mlp": tiny.MLP, "head": tiny.WIDTH}
    assert all(site.width == width[site.kind] for site in sites)
    assert find_sites(tiny.loaded(kind).model) == find_sites(tiny.loaded(kind))


# Widths of the MLP that shapes alone cannot tell from the attention's maps: the model's own width,
# twice it (a fused gate?), three times it (GPT-2's fused q, k, v).
@pytest.mark.parametrize("inner", [16, 32, 48])
@pytest.mark.parametrize(
    ("kind", "mlp", "head"),
    [
        ("bert", "encoder.layer.1.output.dense", "encoder.layer.1.attention.output.dense"),
        ("gpt2", "h.1.mlp.c_proj", "h.1.attn.c_proj"),
        ("llama", "layers.1.mlp.down_proj", "layers.1.self_attn.o_proj"),
    ],
)
def test_misleading_widths(kind, inner, mlp, head):
    settings = tiny.config(kind, 20)
    setattr(settings, {"gpt2": "n_inner"}.get(kind, "intermediate_size"), inner)
    model = transformers.AutoModel.from_config(settings).eval()
    found = {site.name: site for site in find_sites(model, KINDS)}
    assert (found["mlp.2"].module, found["mlp.2"].width) == (mlp, inner)
    assert (found["head.2"].module, found["head.2"].width) == (head, 16)


def test_fused_gate_is_the_product():
    settings = transformers.Phi3Config(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.AutoModel.from_config(settings).eval()
    found = {site.name: site for site in find_sites(model, KINDS)}
    assert (found["mlp.1"].module, found["mlp.1"].width) == ("layers.0.mlp.down_proj", 40)
    assert found["head.1"].module == "layers.0.self_attn.o_proj"


def test_heads_wider_than_the_stream():
    settings = tiny.config("llama", 20)
    settings.head_dim = 24
    model = transformers.AutoModel.from_config(settings).eval()
    found = {site.name: site for site in find_sites(model, ["head"])}
    assert found["head.1"].width == 48


def test_one_block():
    settings = tiny.config("bert", 20)
    settings.num_hidden_layers = 1
    model = transformers.AutoModel.from_config(settings).eval()
    assert [site.name for site in find_sites(model)] == ["hidden.0", "hidden.1"]


class _Expert(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(4)))

    def forward(self, x):
        return self.parts(x)


class _Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.experts = torch.nn.ModuleList(_Expert() for _ in range(7))

    def forward(self, x):
        return sum((expert(x) for expert in self.experts), x)


class _Mixture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.word = torch.nn.Embedding(5, 4)
        self.stack = torch.nn.ModuleList(_Block() for _ in range(2))
        self.top = torch.nn.Linear(4, 4)

    def forward(self, input_ids):
        x = self.word(input_ids)
        for block in self.stack:
            x = block(x)
        return self.top(x)


def test_experts_inside_blocks_are_not_the_stack():
    assert [s.module for s in find_sites(_Mixture())] == ["stack.0", "stack.0", "stack.1"]


def test_what_runs_before_the_last_block_ends():
    before = called_before_last_block(_Mixture())
    assert {"", "word", "stack.0", "stack.1", "stack.1.experts.6.parts.3"} <= before
    assert "top" not in before


def test_no_blocks_and_no_such_kind():
    with pytest.raises(ModelError, match="Linear has no list of blocks"):
        find_sites(torch.nn.Linear(2, 2))
    with pytest.raises(SettingError, match=r'no kind of site "heads".*Did you mean "head"'):
        find_sites(_Mixture(), ["heads"])


def test_architecture_without_mlp_says_what_was_tried():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(4)))
            self.only = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.only(x)

    model = _Mixture()
    model.stack = torch.nn.ModuleList(Odd() for _ in range(2))
    with pytest.raises(ModelError, match=r"no mlp site in block stack.0.*stack.0.only \(4→4\)"):
        find_sites(model, ["mlp"])
