"""Classes of shared neurons by hand, null thresholds, and the identity of effective scores."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models as tiny
import torch
from test_effects_scores import folder

from nissl.errors import InputError, ModelError, SettingError
from nissl.kernels.sharing import (
    CLASSES,
    class_counts,
    contributions,
    effective_scores,
    null_thresholds,
    sharing_classes,
)
from nissl.model import (
    activation_site,
    capture,
    find_sites,
    load_model,
    output_embedding,
    resolve_sites,
    value_vectors,
)


def test_hand_made_patterns():
    active = np.array(
        [
            [1, 1, 1, 0, 0, 1],
            [1, 1, 0, 1, 0, 0],
            [1, 0, 0, 0, 0, 1],
        ],
        dtype=bool,
    )
    names = [CLASSES[c] for c in sharing_classes(active)]
    assert names == [
        "all-shared",
        "partial-shared",
        "specific",
        "specific",
        "non-activated",
        "partial-shared",
    ]
    counts = class_counts(sharing_classes(active)[None])
    assert counts.tolist() == [[1, 2, 2, 1]]


def test_with_two_languages_nothing_is_partial():
    every = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=bool)
    assert sharing_classes(every).tolist() == [3, 2, 2, 0]
    with pytest.raises(InputError, match="2 languages or more, not 1"):
        sharing_classes(every[:1])


def test_null_thresholds_are_quantiles_of_each_neuron():
    values = np.stack([np.arange(101), -np.arange(101)], axis=1).astype(np.float32)
    assert null_thresholds(values, 0.95).tolist() == [95.0, -5.0]
    with pytest.raises(SettingError, match=r"between 0 and 1, not 1"):
        null_thresholds(values, 1.0)
    with pytest.raises(InputError, match="too few for a quantile"):
        null_thresholds(values[:10], 0.99)


def test_contributions_and_scores_by_loops():
    rng = np.random.default_rng(0)
    m, v, e = (rng.standard_normal(s).astype(np.float32) for s in ((3, 5), (5, 4), (3, 4)))
    added, score = contributions(m, v), effective_scores(m, v, e)
    for t in range(3):
        for j in range(5):
            assert added[t, j] == pytest.approx(abs(m[t, j]) * np.sqrt((v[j] ** 2).sum()), abs=1e-5)
            assert score[t, j] == pytest.approx(float(e[t] @ (m[t, j] * v[j])), abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "gpt-neox"])
def test_effective_scores_sum_to_the_output_of_the_mlp(kind):
    model = load_model(folder(kind, "causal-lm"), head="causal-lm")
    ids = torch.tensor([[5, 9, 11, 4], [8, 6, 30, 7]])
    tokens = np.array([3, 17])
    e = output_embedding(model, tokens)
    assert np.array_equal(e, model.model.get_output_embeddings().weight[tokens].numpy())
    for site in find_sites(model, ["mlp"]):
        down = value_vectors(model, site)
        assert down.vectors.shape == (site.width, tiny.WIDTH)
        (out,) = resolve_sites(model, f"module.{site.module}")
        with torch.inference_mode(), capture(model, [site, out]) as seen:
            model.model(input_ids=ids)
            units, output = (seen[each.name][:, -1].numpy() for each in (site, out))
        score = effective_scores(units, down.vectors, e)
        total = score.sum(axis=1) + e @ down.bias
        assert np.abs(total - (output * e).sum(axis=1)).max() < 1e-4
        # Alone neither half would do.
        assert np.abs(score.sum(axis=1)).max() > 1e-2


def test_a_map_down_of_unknown_class_is_asked():
    class Wrapped(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.weight = inner.weight

        def forward(self, x):
            return self.inner(x) + 0.1 * x[..., :1]

    model = load_model(folder("llama", "causal-lm"), head="causal-lm")
    site = find_sites(model, ["mlp"])[1]
    plain = value_vectors(model, site).vectors.copy()
    holder = model.model.get_submodule(site.module.rpartition(".")[0])
    holder.down_proj = Wrapped(holder.down_proj)
    changed = value_vectors(model, site)
    plain[0] += 0.1
    assert np.abs(changed.vectors - plain).max() < 1e-6
    assert not changed.bias.any()


def test_only_mlp_units_have_value_vectors():
    model = tiny.loaded("gpt2")
    with pytest.raises(SettingError, match=r"hidden\.1 is no mlp site"):
        value_vectors(model, "hidden.1")
    with pytest.raises(ModelError, match="fused experts"):
        value_vectors(tiny.loaded("mixtral"), "mlp.1")
    with pytest.raises(ModelError, match='head="causal-lm"'):
        output_embedding(model, np.array([1]))


def test_the_gate_is_read_where_there_is_one():
    model = tiny.loaded("llama")
    unit = find_sites(model, ["mlp"])[2]
    gate = activation_site(model, unit)
    assert (gate.kind, gate.layer, gate.width) == ("module", 3, unit.width)
    block = model.model.layers[2].mlp
    with torch.inference_mode(), capture(model, [unit, gate]) as seen:
        model.model(input_ids=torch.tensor([[5, 9, 11, 4]]))
        units, gates = seen[unit.name], seen[gate.name]
        x = torch.randn(4, tiny.WIDTH)
        assert torch.allclose(block.act_fn(block.gate_proj(x)) * block.up_proj(x), _units(block, x))
    assert (torch.sign(units) != torch.sign(gates)).any()
    assert gates.min() > -0.3  # of SiLU, not of a product

    plain = tiny.loaded("gpt2")
    for site in find_sites(plain, ["mlp"]):
        other = activation_site(plain, site)
        with torch.inference_mode(), capture(plain, [site, other]) as seen:
            plain.model(input_ids=torch.tensor([[5, 9, 11, 4]]))
            assert torch.equal(seen[site.name], seen[other.name])
    bert = find_sites(tiny.loaded("bert"), ["mlp"])[0]
    assert activation_site(tiny.loaded("bert"), bert) == bert


def _units(block, x):
    seen = []
    handle = block.down_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    block(x)
    handle.remove()
    return seen[0]
