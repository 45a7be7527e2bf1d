"""Extraction from recurrent models and from any module: the values of the sentence by itself."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models as tiny
import torch

from nissl.errors import ModelError, SettingError
from nissl.extraction import collect, extract, settings
from nissl.model import resolve_sites, wrap_model
from nissl.site import parse_neuron

PARTS = {
    "LSTM": ("hidden", "cell", "input_gate", "forget_gate", "cell_gate", "output_gate"),
    "GRU": ("hidden", "reset_gate", "update_gate", "new_gate"),
    "RNN": ("hidden",),
}
LAYERS, INPUT, UNITS = 2, 6, 5


class LanguageModel(torch.nn.Module):
    """Subwords → recurrent layers → the next subword; takes ids and nothing else."""

    def __init__(self, kind: str, both: bool):
        super().__init__()
        self.word = torch.nn.Embedding(130, INPUT)
        self.rnn = getattr(torch.nn, kind)(
            INPUT, UNITS, num_layers=LAYERS, batch_first=True, bidirectional=both
        )
        self.top = torch.nn.Linear(UNITS * (1 + both), 130)

    def forward(self, ids):
        return self.top(self.rnn(self.word(ids))[0])


def made(kind: str, both: bool = False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = LanguageModel(kind, both)
        for value in module.parameters():
            torch.nn.init.normal_(value, std=0.5)
    return wrap_model(module, tiny.tokenizer("bert"), name=f"tiny {kind}", max_length=tiny.LENGTH)


def step(kind, x, state, w_in, w_back, b_in, b_back):
    """One step of one unit after the other, by the formulas of torch's documentation."""

    def sums(gate, used):
        """W x + b and U h + c of each unit of a gate."""
        rows = range(gate * UNITS, (gate + 1) * UNITS)
        a = [sum(w * v for w, v in zip(w_in[r], x, strict=True)) + b_in[r] for r in rows]
        b = [sum(w * v for w, v in zip(w_back[r], used, strict=True)) + b_back[r] for r in rows]
        return np.array(a), np.array(b)

    def squash(pair):
        return 1 / (1 + np.exp(-(pair[0] + pair[1])))

    h = state["hidden"]
    if kind == "LSTM":
        i, f, o = squash(sums(0, h)), squash(sums(1, h)), squash(sums(3, h))
        g = np.tanh(sum(sums(2, h)))
        cell = f * state["cell"] + i * g
        hidden = o * np.tanh(cell)
        return dict(zip(PARTS[kind], (hidden, cell, i, f, g, o), strict=True))
    if kind == "GRU":
        r, z = squash(sums(0, h)), squash(sums(1, h))
        a, b = sums(2, h)
        n = np.tanh(a + r * b)
        return dict(zip(PARTS[kind], ((1 - z) * n + z * h, r, z, n), strict=True))
    return {"hidden": np.tanh(sum(sums(0, h)))}


def by_hand(module, kind, both, ids):
    """Site → (length, width) of one sentence, in float64, without torch's recurrent code."""
    values = {name: value.numpy().astype(np.float64) for name, value in module.named_parameters()}
    x = values["word.weight"][ids]
    found = {"hidden.0": x}
    for layer in range(LAYERS):
        sides = []
        for way in range(1 + both):
            end = f"l{layer}" + "_reverse" * way
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [values[f"rnn.{name}_{end}"] for name in names]
            state = {"hidden": np.zeros(UNITS), "cell": np.zeros(UNITS)}
            rows = {}
            for t in range(len(x))[:: -1 if way else 1]:
                state = step(kind, x[t], state, *weights)
                rows[t] = state
            sides.append([rows[t] for t in range(len(x))])
        for part in PARTS[kind]:
            found[f"state.{part}.{layer + 1}"] = np.stack(
                [np.concatenate([row[part] for row in step]) for step in zip(*sides, strict=True)]
            )
        x = found[f"hidden.{layer + 1}"] = found[f"state.hidden.{layer + 1}"]
    return found


def reference(model, kind, both, corpus, how="last"):
    """Site → (words, width), each sentence by itself."""
    rows: dict[str, list[np.ndarray]] = {}
    for sentence in corpus:
        given = model.tokenizer(
            sentence.text, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        pieces = tiny.pieces_of(
            sentence.offsets, given["offset_mapping"], given["special_tokens_mask"]
        )
        for name, values in by_hand(model.model, kind, both, given["input_ids"]).items():
            rows.setdefault(name, []).append(tiny.pool(values, pieces, how))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("how", "batch_tokens"), [("last", 60), ("mean", 500), ("first", 1)])
def test_states_of_words_are_those_of_the_sentence_alone(
    monkeypatch, kind, both, how, batch_tokens
):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 30)
    model, corpus = made(kind, both), tiny.corpus()
    real, padded = collect.run, []
    monkeypatch.setattr(
        collect, "run", lambda m, ids, mask: (padded.append(not mask.all()), real(m, ids, mask))[1]
    )
    store = extract(
        corpus,
        model,
        sites=["hidden", "state"],
        pooling=how,
        batch_tokens=batch_tokens,
        progress=False,
    )
    assert any(padded) == (batch_tokens > 1), "padding does no harm, so that it is not avoided"
    want = reference(model, kind, both, corpus, how)
    assert {site.name for site in store.sites} == set(want)
    assert len(store.manifest["shards"]) > 1
    width = UNITS * (1 + both)
    assert {site.name: site.width for site in store.sites} == {
        name: INPUT if name == "hidden.0" else width for name in want
    }
    for name, values in want.items():
        np.testing.assert_allclose(store[name], values, rtol=0, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_part_of_a_state_is_a_site_of_its_own(kind):
    model, corpus = made(kind, True), tiny.corpus()
    whole = extract(corpus, model, sites=["state", "hidden"], progress=False)
    part = PARTS[kind][1]
    one = extract(corpus, model, sites=[f"state.{part}.1", "hidden.2"], progress=False)
    assert [site.name for site in one.sites] == [f"state.{part}.1", "hidden.2"]
    for site in one.sites:
        np.testing.assert_allclose(one[site.name], whole[site.name], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        one["hidden.2"], whole["state.hidden.2"], rtol=0, atol=1e-5, err_msg="one state, two names"
    )


def test_neurons_of_states_are_read_by_their_ids():
    store = extract(tiny.corpus(), made("LSTM", True), sites=["state", "hidden"], progress=False)
    ids = ["state.cell.1:3", "state.output_gate.2:9", "hidden.0:5", "state.cell.1:0"]
    got = store.matrix(neurons=ids, rows=np.array([7, 2]))
    for column, ident in enumerate(ids):
        site, index = parse_neuron(ident)
        assert f"{site}:{index}" == ident
        np.testing.assert_array_equal(got[:, column], store[site][[7, 2], index])
    assert len(np.unique(got)) == got.size, "neurons must differ to test anything"
    every = store.neurons["neuron"].to_list()
    assert [parse_neuron(ident) for ident in every] == [
        (site.name, i) for site in store.sites for i in range(site.width)
    ]
    table = store.neurons.filter(store.neurons["neuron"] == "state.cell.1:3")
    assert table.row(0, named=True) == {
        "neuron": "state.cell.1:3",
        "site": "state.cell.1",
        "kind": "state",
        "layer": 1,
        "index": 3,
    }
    with pytest.raises(SettingError, match=r'no neuron "state\.cell\.3:0"'):
        store.matrix(neurons=["state.cell.3:0"])


def test_a_part_that_a_layer_lacks_is_named():
    with pytest.raises(SettingError, match=r'no site "state\.cell\.1"'):
        extract(tiny.corpus(), made("GRU"), sites=["state.cell.1"], progress=False)
    with pytest.raises(ModelError, match="whose kinds are hidden and state"):
        extract(tiny.corpus(), made("GRU"), sites=["mlp"], progress=False)


# Any module -------------------------------------------------------------------------------------

MODULES = (
    "module.embeddings.LayerNorm",
    "module.encoder.layer.1.output.dense",
    "module.encoder.layer.1.output.dense@input",
    "module.encoder.layer.0.attention.self.query",
    "module.encoder.layer.2@input",
    "module.encoder.layer.1.intermediate",
)


@pytest.mark.parametrize("how", ["last", "mean"])
def test_modules_equal_hooks_by_hand(how):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    store = extract(
        corpus, model, sites=[*MODULES, "hidden.1"], pooling=how, batch_tokens=60, progress=False
    )
    assert [site.name for site in store.sites] == [*MODULES, "hidden.1"]
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for name in MODULES:
        path, at, _ = name.removeprefix("module.").partition("@")
        part = model.model.get_submodule(path)
        if at:
            handles.append(
                part.register_forward_pre_hook(
                    lambda m, args, name=name: seen.update({name: args[0].clone()})
                )
            )
        else:
            handles.append(
                part.register_forward_hook(
                    lambda m, args, out, name=name: seen.update({name: out.clone()})
                )
            )
    want: dict[str, list[np.ndarray]] = {}
    try:
        for sentence in corpus:
            _, spans, special = tiny.alone(model, sentence.text)
            pieces = tiny.pieces_of(sentence.offsets, spans, special)
            for name, values in seen.items():
                want.setdefault(name, []).append(tiny.pool(values[0].numpy(), pieces, how))
    finally:
        for handle in handles:
            handle.remove()
    assert set(want) == set(MODULES)
    for name, parts in want.items():
        values = np.concatenate(parts)
        near = 1e-5 * max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(store[name], values, rtol=0, atol=near, err_msg=name)
    ident = "module.encoder.layer.1.output.dense@input:7"
    site, index = parse_neuron(ident)
    np.testing.assert_array_equal(store.matrix(neurons=[ident])[:, 0], store[site][:, index])


@pytest.mark.parametrize(
    "sites",
    [
        ["module.word", "module.top@input", "hidden.0"],
        ["module.rnn", "module.word"],
        ["hidden.2", "module.top@input", "state.hidden.2"],
        ["module.rnn", "hidden.2"],
        ["module.rnn", "hidden.0"],
    ],
)
def test_modules_of_a_recurrent_model_are_sites_too(sites):
    model, corpus = made("LSTM"), tiny.corpus()
    store = extract(corpus, model, sites=sites, progress=False)
    assert resolve_sites(model, sites) == store.sites
    want = reference(model, "LSTM", False, corpus)
    for name in sites:
        of = "hidden.0" if name in ("module.word", "hidden.0") else "hidden.2"
        np.testing.assert_allclose(store[name], want[of], rtol=0, atol=2e-5, err_msg=name)


class Sometimes(torch.nn.Module):
    """A model whose last module runs for long inputs only."""

    def __init__(self):
        super().__init__()
        self.word, self.extra = torch.nn.Embedding(130, 4), torch.nn.Linear(4, 4)

    def forward(self, ids):
        x = self.word(ids)
        return self.extra(x) if ids.shape[1] == 3 or ids.shape[1] > 9 else x


def test_a_module_that_does_not_always_run_is_refused():
    """What the memory held before would be stored for its words."""
    model = wrap_model(Sometimes(), tiny.tokenizer("bert"), name="sometimes")
    options = {"sites": ["module.word", "module.extra"], "batch_tokens": 1, "progress": False}
    with pytest.raises(
        ModelError,
        match=r"^tiny.txt:1: site module.extra was not seen in a pass: extra did not run, or not "
        "as often as in a trial; name another module",
    ):
        extract(tiny.corpus(), model, **options)
    long = tiny.corpus((tiny.SENTENCES[6],))
    assert extract(long, model, **options).n_neurons == 8
