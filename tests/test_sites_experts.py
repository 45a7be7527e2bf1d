"""Mixtures of experts: every expert's units, 0 where a token is not routed."""

from __future__ import annotations

import pytest
import tiny_models as tiny
import torch
import transformers
from torch.nn import functional as F

from nissl.model import all_sites, capture, find_sites, run


def _swiglu(experts, e, x):
    """Gate and up one after the other in the rows of one matrix (Mixtral, Qwen2-MoE)."""
    both = experts.gate_up_proj[e] @ x
    half = len(both) // 2
    return F.silu(both[:half]) * both[half:]


def _oss(experts, e, x):
    """Gate and up in turn in the columns of one matrix, with biases and bounds (gpt-oss)."""
    both = x @ experts.gate_up_proj[e] + experts.gate_up_proj_bias[e]
    gate, up = both[0::2].clamp(max=experts.limit), both[1::2].clamp(-experts.limit, experts.limit)
    return (up + 1) * gate * torch.sigmoid(gate * experts.alpha)


@pytest.mark.parametrize(
    ("kind", "formula"), [("mixtral", _swiglu), ("qwen2-moe", _swiglu), ("gpt-oss", _oss)]
)
def test_units_token_by_token(kind, formula):
    loaded = tiny.loaded(kind)
    sites = find_sites(loaded, ["mlp"])
    path = sites[1].module
    experts = loaded.model.get_submodule(path)
    n = experts.gate_up_proj.shape[0]
    inner = sites[1].width // n
    calls = []
    handle = experts.register_forward_hook(
        lambda m, args, kwargs, out: calls.append((*args, *kwargs.values(), out)), with_kwargs=True
    )
    ids, mask = tiny.ids_of([[5, 6, 7, 8], [9, 10]])
    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        run(loaded, ids, mask)
        got = seen["mlp.2"]
        handle.remove()
        assert got.shape == (2, 4, n * inner)
        tokens, chosen, weights, out = calls[0]
        units = got.reshape(8, n, inner)
        for t in range(8):
            total = torch.zeros(tiny.WIDTH)
            for e in range(n):
                if e not in chosen[t].tolist():
                    assert not units[t, e].any()
                    continue
                want = formula(experts, e, tokens[t])
                torch.testing.assert_close(units[t, e], want, rtol=1e-4, atol=1e-4)
                weight = weights[t][chosen[t].tolist().index(e)]
                down = experts.down_proj[e]
                mapped = units[t, e] @ down if kind == "gpt-oss" else down @ units[t, e]
                bias = experts.down_proj_bias[e] if kind == "gpt-oss" else 0
                total += weight * (mapped + bias)
            # Led back and weighted by the router, they are what the experts give.
            torch.testing.assert_close(total, out.reshape(8, -1)[t], rtol=1e-4, atol=1e-3)


def test_routing_differs_between_tokens():
    """Else zeros would prove nothing."""
    loaded = tiny.loaded("mixtral")
    sites = find_sites(loaded, ["mlp"])
    ids, mask = tiny.ids_of([list(range(4, 30))])
    with torch.inference_mode(), capture(loaded, sites, keep=lambda s, t: t.clone()) as seen:
        run(loaded, ids, mask)
        live = seen["mlp.1"][0].reshape(26, 4, tiny.MLP).abs().sum(dim=2) > 0
    assert (live.sum(dim=1) == 2).all()
    assert len({tuple(row.tolist()) for row in live}) > 1


def test_experts_that_are_modules_are_left_to_the_user():
    settings = transformers.SwitchTransformersConfig(
        vocab_size=60,
        d_model=16,
        num_layers=2,
        num_decoder_layers=2,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        num_heads=2,
        d_kv=8,
        d_ff=40,
        num_experts=4,
        decoder_start_token_id=0,
    )
    model = transformers.AutoModel.from_config(settings).eval()
    sites, why = all_sites(model)
    assert {site.group for site in sites} == {
        "encoder.hidden",
        "decoder.hidden",
        "encoder.head",
        "decoder.head",
    }
    assert "experts are modules of their own" in why["mlp"]
