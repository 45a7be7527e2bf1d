"""Extraction: the values are those of a plain forward pass, however batched, cut or interrupted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file

from nissl.corpus import Corpus
from nissl.errors import InputError, ModelError, SettingError, StoreError
from nissl.extraction import POOLINGS, extract
from nissl.model import Site, capture, find_sites, load_model
from nissl.store import Activations

CLOSE = {"rtol": 0, "atol": 1e-5}


def near(got, want) -> None:
    """Equal to 1e-4 of the largest value.

    Streams without a norm reach 120 and T5 does not scale its attention, so that rounding, which
    depends on where a batch lies in memory, shows in the fifth digit. A wrong row differs in the
    first.
    """
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * max(1.0, float(np.abs(want).max())))


def alone(model, sentence):
    """Run one sentence by itself, as its words are read; return site → (length, width), pieces.

    A decoder of two stacks reads its start token first: what has read token i is one further on.
    """
    given = model.tokenizer(
        sentence.text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
    )
    pieces = tiny.pieces_of(sentence.offsets, given["offset_mapping"], given["special_tokens_mask"])
    return states_of(model, given["input_ids"]), pieces


def states_of(model, ids):
    """Every hidden state that transformers hands out for a list of ids, by the name of its site."""
    given = torch.tensor([ids])
    with torch.inference_mode():
        if not model.model.config.is_encoder_decoder:
            out = model.model(input_ids=given, output_hidden_states=True).hidden_states
            return {f"hidden.{i}": values[0].numpy() for i, values in enumerate(out)}
        # T5 starts its decoder with the padding token, which is 0 here.
        start = torch.tensor([[getattr(model.model.config, "decoder_start_token_id", 0)]])
        out = model.model(
            input_ids=given,
            decoder_input_ids=torch.cat([start, given], dim=1),
            output_hidden_states=True,
        )
    return {
        **{
            f"encoder.hidden.{i}": values[0].numpy()
            for i, values in enumerate(out.encoder_hidden_states)
        },
        **{
            f"decoder.hidden.{i}": values[0, 1:].numpy()
            for i, values in enumerate(out.decoder_hidden_states)
        },
    }


def reference(model, corpus: Corpus, how: str = "last") -> dict[str, np.ndarray]:
    """Each sentence by itself, every hidden state that transformers hands out."""
    rows: dict[str, list[np.ndarray]] = {}
    for sentence in corpus:
        states, pieces = alone(model, sentence)
        for name, values in states.items():
            rows.setdefault(name, []).append(tiny.pool(values, pieces, how))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


NORMED = {
    "gpt2": {f"hidden.{tiny.BLOCKS}": "ln_f"},
    "llama": {f"hidden.{tiny.BLOCKS}": "norm"},
    "t5": {
        f"encoder.hidden.{tiny.BLOCKS}": "encoder.final_layer_norm",
        "decoder.hidden.1": "decoder.final_layer_norm",
    },
}
"""Of these, transformers hands out the last state only after the final norm."""


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("how", POOLINGS)
def test_equals_plain_forward_pass(kind, how):
    model, corpus = tiny.loaded(kind), tiny.corpus()
    store = extract(corpus, model, pooling=how, batch_tokens=64, progress=False)
    want = reference(model, corpus, how)
    assert [site.name for site in store.sites] == list(want)
    assert store.n_tokens == corpus.n_tokens
    for name, values in want.items():
        if name in NORMED.get(kind, ()):
            assert np.abs(store[name] - values).max() > 0.1
        elif kind == "bert":
            np.testing.assert_allclose(store[name], values, **CLOSE)
        else:
            near(store[name], values)


def test_minilm_equals_plain_forward_pass():
    model = load_model("minilm")
    corpus = tiny.corpus()
    store = extract(corpus, model, progress=False)
    assert store.n_neurons == 2688
    for name, values in reference(model, corpus).items():
        np.testing.assert_allclose(store[name], values, **CLOSE)


@pytest.mark.parametrize("kind", NORMED)
def test_last_hidden_site_is_the_last_block_by_module(kind):
    model, corpus = tiny.loaded(kind), tiny.corpus()
    store = extract(corpus, model, progress=False)
    want = reference(model, corpus)
    for name, norm in NORMED[kind].items():
        last = torch.from_numpy(store[name])
        with torch.inference_mode():
            normed = model.model.get_submodule(norm)(last).numpy()
        near(normed, want[name])


INNER = {
    "bert": ("encoder.layer.{}.output.dense", "encoder.layer.{}.attention.output.dense"),
    "roberta": ("encoder.layer.{}.output.dense", "encoder.layer.{}.attention.output.dense"),
    "distilbert": ("transformer.layer.{}.ffn.lin2", "transformer.layer.{}.attention.out_lin"),
    "gpt2": ("h.{}.mlp.c_proj", "h.{}.attn.c_proj"),
    "llama": ("layers.{}.mlp.down_proj", "layers.{}.self_attn.o_proj"),
}


@pytest.mark.parametrize("kind", INNER)
def test_mlp_and_head_sites_equal_hooks_by_hand(kind):
    model, corpus = tiny.loaded(kind), tiny.corpus()
    store = extract(corpus, model, sites=("mlp", "head"), progress=False)
    seen: dict[str, torch.Tensor] = {}
    want: dict[str, list[np.ndarray]] = {}
    handles = []
    for i in range(tiny.BLOCKS):
        for name, path in zip(("mlp", "head"), INNER[kind], strict=True):
            key = f"{name}.{i + 1}"
            part = model.model.get_submodule(path.format(i))
            handles.append(
                part.register_forward_pre_hook(
                    lambda m, a, key=key: seen.update({key: a[0].clone()})
                )
            )
    for sentence in corpus:
        _, pieces = alone(model, sentence)
        for key, values in seen.items():
            want.setdefault(key, []).append(tiny.pool(values[0].numpy(), pieces, "last"))
    for handle in handles:
        handle.remove()
    assert {site.name: site.width for site in store.sites} == {
        **{f"mlp.{i + 1}": tiny.MLP for i in range(tiny.BLOCKS)},
        **{f"head.{i + 1}": tiny.WIDTH for i in range(tiny.BLOCKS)},
    }
    for key, parts in want.items():
        near(store[key], np.concatenate(parts))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_batch_size_order_and_padding_do_not_matter(kind):
    model, corpus = tiny.loaded(kind), tiny.corpus()
    base = extract(corpus, model, batch_tokens=1, progress=False).matrix()
    for batch_tokens in (30, 100, 10_000):
        other = extract(corpus, model, batch_tokens=batch_tokens, progress=False).matrix()
        near(other, base)
    back = tiny.corpus(tiny.SENTENCES[::-1])
    other = extract(back, model, batch_tokens=100, progress=False).matrix()
    bounds = np.cumsum([0, *(len(s.split()) for s in tiny.SENTENCES)])
    order = np.concatenate([np.arange(a, b) for a, b in reversed([*itertools.pairwise(bounds)])])
    near(other, base[order])


def test_neither_cache_nor_hooks_remain():
    model = load_model(tiny.folder("gpt2"))
    out, _, _ = tiny.alone(model, "The cat sat .")
    assert out.past_key_values is None
    extract(tiny.corpus(), model, sites=("hidden", "mlp", "head"), progress=False)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.model.modules())


class _InPlace(torch.nn.Module):
    """A block that changes its input, which is the output of the block before."""

    def __init__(self):
        super().__init__()
        self.parts = torch.nn.Sequential(
            torch.nn.Identity(), torch.nn.Linear(4, 4), torch.nn.Tanh()
        )
        self.more = torch.nn.Identity()

    def forward(self, x):
        y = self.parts(x.clone())
        x.zero_()
        return y


class _Stack(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.word = torch.nn.Embedding(9, 4)
        self.blocks = torch.nn.ModuleList(_InPlace() for _ in range(2))

    def forward(self, input_ids, attention_mask=None):
        x = self.word(input_ids)
        for block in self.blocks:
            x = block(x)
        return x


def test_blocks_that_work_in_place_cannot_change_what_was_seen():
    stack = _Stack().eval()
    sites = find_sites(stack)
    with (
        torch.inference_mode(),
        capture(stack, sites, keep=lambda site, tensor: tensor.clone()) as seen,
    ):
        stack(torch.tensor([[1, 2]]))
        assert all(seen[site.name].abs().sum() > 0 for site in sites)
    with torch.inference_mode(), capture(stack, sites) as seen:
        stack(torch.tensor([[1, 2]]))
        assert seen["hidden.1"].abs().sum() == 0, "the toy must work in place to test anything"


# Which sites ------------------------------------------------------------------------------------


def test_sites_by_name_kind_and_object():
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    whole = extract(corpus, model, progress=False)
    one = extract(corpus, model, sites="hidden.2", progress=False)
    np.testing.assert_array_equal(one.matrix(), whole["hidden.2"])
    given = find_sites(model, ["hidden"])[1:3]
    two = extract(corpus, model, sites=[*given, "mlp.1", given[0]], progress=False)
    assert [site.name for site in two.sites] == ["hidden.1", "hidden.2", "mlp.1"]
    np.testing.assert_array_equal(two["hidden.1"], whole["hidden.1"])


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (["hiden"], 'no kind of site "hiden".*Did you mean "hidden"'),
        (["hidden.9"], 'no site "hidden.9"'),
        ([], "name at least one kind"),
    ],
)
def test_unknown_sites(sites, message):
    with pytest.raises(SettingError, match=message):
        extract(tiny.corpus(), tiny.loaded("bert"), sites=sites, progress=False)


def test_site_of_another_model():
    site = Site("hidden", 1, "no.such.module", "output", 16)
    with pytest.raises(ModelError, match=r"hidden.1 is at no.such.module, which BertModel lacks"):
        extract(tiny.corpus(), tiny.loaded("bert"), sites=[site], progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "means"}, 'not "means". Did you mean "mean"'),
        ({"on_long": "cut"}, 'on_long is "error" or "window"'),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"store_dtype": "float46"}, 'not "float46". Did you mean "float16"'),
        ({"engine": "dusk", "jobs": 2}, 'not "dusk". Did you mean "dask"'),
        ({"address": "tcp://x"}, "an address needs an engine"),
    ],
)
def test_unknown_settings(options, message):
    with pytest.raises(SettingError, match=message):
        extract(tiny.corpus(), tiny.loaded("bert"), progress=False, **options)


# Long sentences ---------------------------------------------------------------------------------


def long_corpus() -> Corpus:
    words = " ".join(tiny.SENTENCES).split()
    return tiny.corpus(("Rain !", " ".join(words)), name="long")


def test_long_sentence_is_an_error_that_says_what_to_do():
    with pytest.raises(
        InputError, match=r'^long.txt:2: sentence "long-1" has \d+ subwords, the model takes 64'
    ) as caught:
        extract(long_corpus(), tiny.loaded("bert"), progress=False)
    assert "--on-long window" in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_windows_against_brute_force(kind):
    model, corpus = tiny.loaded(kind), long_corpus()
    store = extract(corpus, model, on_long="window", progress=False)
    sentence = list(corpus)[1]
    got = model.tokenizer(
        sentence.text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
    )
    ids, special = got["input_ids"], got["special_tokens_mask"]
    assert len(ids) > tiny.LENGTH * 3 / 2
    pieces = tiny.pieces_of(sentence.offsets, got["offset_mapping"], special)
    body = [i for i, s in enumerate(special) if not s]
    head, tail = ids[: body[0]], ids[body[-1] + 1 :]
    room = tiny.LENGTH - len(head) - len(tail)
    starts = [*range(body[0], body[-1] + 1 - room, room // 2), body[-1] + 1 - room]
    site = "encoder.hidden.1" if kind == "t5" else "hidden.1"
    runs, contexts = [], []
    for start in starts:
        given = torch.tensor([head + ids[start : start + room] + tail])
        runs.append(states_of(model, given[0].tolist())[site])
    for word, piece in enumerate(pieces):
        context = []
        for start in starts:
            if piece[0] < start or piece[-1] >= start + room:
                context.append(-1)
                continue
            left = np.inf if start == starts[0] else piece[0] - start
            right = np.inf if start == starts[-1] else start + room - 1 - piece[-1]
            context.append(min(left, right))
        best = int(np.argmax(context))
        contexts.append(max(context))
        want = runs[best][piece[-1] - starts[best] + len(head)]
        row = 2 + word
        near(store[site][row], want)
    # The store states how many windows there were, and the least context.
    assert store.manifest["windows"] == {"count": len(starts), "least_context": min(contexts)}
    # Short sentences are run as ever.
    short = extract(tiny.corpus(("Rain !",)), model, progress=False)
    near(store.matrix(rows=np.arange(2)), short.matrix())
    assert short.manifest["windows"] == {"count": 0, "least_context": None}


def test_word_that_fits_no_window():
    corpus = tiny.corpus(("Rain !", "a " + "qz" * 60), name="wide")
    message = r'^wide.txt:2: word "qzqz.*has \d+ subwords, a window has room for 64'
    with pytest.raises(InputError, match=message):
        extract(corpus, tiny.loaded("gpt2"), on_long="window", progress=False)


# Bad numbers ------------------------------------------------------------------------------------


def test_weights_that_are_not_numbers_name_neuron_and_word(tmp_path):
    folder = tiny.copy_folder("bert", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.bias"][5] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "store"
    with pytest.raises(ModelError, match=r'^tiny.txt:1: neuron hidden.2:5 is nan at word 1 "The"'):
        extract(tiny.corpus(), load_model(folder), out, progress=False)
    with pytest.raises(StoreError, match="unfinished"):
        Activations.open(out)


def test_half_precision_is_stored_as_it_is():
    model = load_model(tiny.folder("bert"), dtype="bfloat16")
    store = extract(tiny.corpus(), model, progress=False)
    raw = load_file(store.path / "shard-00000.safetensors")
    assert {value.dtype for value in raw.values()} == {torch.bfloat16}
    np.testing.assert_array_equal(store["hidden.1"], raw["hidden.1"].T.to(torch.float32).numpy())
    mean = extract(tiny.corpus(), model, pooling="mean", progress=False)
    assert mean.manifest["dtype"] == "bfloat16"
