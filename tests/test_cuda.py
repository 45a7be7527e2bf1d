"""What runs on a GPU gives what the processor gives; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models as tiny
import torch

from nissl.extraction import extract
from nissl.kernels.elastic_net import fit_elastic_net
from nissl.kernels.fista import solve_many_torch
from nissl.kernels.problem import Problem
from nissl.kernels.standardise import moments, standardise
from nissl.model import load_model
from nissl.testing import planted_activations

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5", "mixtral"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_extraction_is_the_processors(kind, pooling):
    sites = ("hidden", "mlp")
    want = extract(tiny.corpus(), tiny.loaded(kind), sites=sites, pooling=pooling, batch_tokens=1)
    on_gpu = load_model(tiny.folder(kind), device="cuda")
    got = extract(tiny.corpus(), on_gpu, sites=sites, pooling=pooling, batch_tokens=64)
    assert [site.name for site in got.sites] == [site.name for site in want.sites]
    for site in want.sites:
        a, b = got[site.name], want[site.name]
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * scale, err_msg=site.name)


def test_a_batch_too_large_for_the_device_is_halved():
    on_gpu = load_model(tiny.folder("bert"), device="cuda")
    inner = on_gpu.model.forward
    seen = []

    def narrow(*args, **kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        seen.append(len(ids))
        # A trial pass with fewer sentences comes first, and is let through.
        if len(ids) > 2:
            raise torch.cuda.OutOfMemoryError("made up")
        return inner(*args, **kwargs)

    # Sentences of one length share a batch.
    corpus = tiny.corpus(tiny.SENTENCES[:1] * 6)
    want = extract(corpus, tiny.loaded("bert"))
    on_gpu.model.forward = narrow
    got = extract(corpus, on_gpu)
    assert max(seen) > 2
    for site in want.sites:
        scale = max(1.0, float(np.abs(want[site.name]).max()))
        np.testing.assert_allclose(got[site.name], want[site.name], rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("block", [None, 57])
@pytest.mark.parametrize("where", ["host", "device"])
def test_the_torch_engine_agrees_with_the_cpu_engine(block, where):
    planted = planted_activations(n_tokens=600, n_neurons=80, n_classes=5, seed=0)
    X = standardise(planted.X, *moments(planted.X))
    y = planted.y.astype(np.int64)
    problems = [Problem(y, 5, l1, 1e-3) for l1 in (1e-2, 3e-3)]
    given = X if where == "host" else torch.from_numpy(X).cuda()
    fits = solve_many_torch(given, problems, tol=1e-4, block=block, device="cuda")
    for problem, fit in zip(problems, fits, strict=True):
        other = fit_elastic_net(X, y, 5, l1=problem.l1, l2=problem.l2, tol=1e-5)
        assert fit.converged
        assert abs(fit.objective / other.objective - 1) < 1e-4


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_edits_and_scans_are_the_processors(kind):
    from nissl.model import Edit, edited, scan

    ids, mask = tiny.ids_of([[5, 6, 7, 8], [9, 10, 11]])
    edits = (Edit.zero(["mlp.1:3", "mlp.1:7"]), Edit.scale(["hidden.1:2"], 3.0))

    def measure(out):
        return out[0].float().pow(2).sum(dim=(1, 2))

    found = []
    for device in ("cpu", "cuda"):
        model = load_model(tiny.folder(kind), device=device)
        inputs = (ids.to(device), mask.to(device))
        with torch.inference_mode(), edited(model, *edits):
            out = model.model(input_ids=inputs[0], attention_mask=inputs[1])[0].float().cpu()
        effects = np.concatenate([c.effects for c in scan(model, inputs, "mlp.2", measure)])
        found.append((out[0].numpy(), effects))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * max(1.0, float(np.abs(a).max())))


def test_scans_of_an_effect_are_the_processors():
    from test_causal_scan import PAIRS
    from test_effects_scores import model_of

    from nissl.effects import pair_effect
    from nissl.methods.causal_scan import scan_neurons

    tables = []
    for device in ("cpu", "cuda"):
        model = model_of("llama", "causal-lm", device=device)
        found = scan_neurons(
            model, pair_effect(PAIRS), ["mlp.2", "hidden.3"], how="zero", joint=(3,), draws=4
        )
        assert found.joint is not None
        tables.append((found.frame().sort("neuron"), found.joint.frame()))
    (here, sets), (there, other) = tables
    assert here["neuron"].to_list() == there["neuron"].to_list()
    for column in ("margin", "screen"):
        np.testing.assert_allclose(here[column], there[column], rtol=0, atol=1e-4)
    assert sets.columns == other.columns
    assert sets.height == other.height
