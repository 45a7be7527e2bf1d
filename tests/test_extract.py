"""Extraction: the values are those of a plain forward pass, however batched, cut or interrupted."""

from __future__ import annotations

import itertools
import json
import os

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file

import nissl.extraction as module
from nissl.corpus import Corpus
from nissl.corpus.corpus import joined
from nissl.errors import InputError, ModelError, SettingError, StoreError
from nissl.extraction import extract
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


def reference(model, corpus: Corpus, how: str = "last") -> dict[str, np.ndarray]:
    """Each sentence by itself, every hidden state that transformers hands out."""
    rows: dict[str, list[np.ndarray]] = {}
    for sentence in corpus:
        out, spans, special = tiny.alone(model, sentence.text, output_hidden_states=True)
        pieces = tiny.pieces_of(sentence.offsets, spans, special)
        for i, values in enumerate(out.hidden_states):
            rows.setdefault(f"hidden.{i}", []).append(tiny.pool(values[0].numpy(), pieces, how))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("how", module.POOLINGS)
def test_equals_plain_forward_pass(kind, how):
    model, corpus = tiny.loaded(kind), tiny.corpus()
    store = extract(corpus, model, pooling=how, batch_tokens=64, progress=False)
    want = reference(model, corpus, how)
    assert [site.name for site in store.sites] == list(want)
    assert store.n_tokens == corpus.n_tokens
    # The last state that GPT-2, Llama and T5 hand out has gone through the final norm.
    last = f"hidden.{tiny.BLOCKS}"
    normed = kind in ("gpt2", "llama", "t5")
    for name, values in want.items():
        if name == last and normed:
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


@pytest.mark.parametrize(
    ("kind", "norm"), [("gpt2", "ln_f"), ("llama", "norm"), ("t5", "final_layer_norm")]
)
def test_last_hidden_site_is_the_last_block_by_module(kind, norm):
    model, corpus = tiny.loaded(kind), tiny.corpus()
    store = extract(corpus, model, progress=False)
    last = torch.from_numpy(store[f"hidden.{tiny.BLOCKS}"])
    with torch.inference_mode():
        normed = model.model.get_submodule(norm)(last).numpy()
    near(normed, reference(model, corpus)[f"hidden.{tiny.BLOCKS}"])


INNER = {
    "bert": ("encoder.layer.{}.output.dense", "encoder.layer.{}.attention.output.dense"),
    "roberta": ("encoder.layer.{}.output.dense", "encoder.layer.{}.attention.output.dense"),
    "distilbert": ("transformer.layer.{}.ffn.lin2", "transformer.layer.{}.attention.out_lin"),
    "gpt2": ("h.{}.mlp.c_proj", "h.{}.attn.c_proj"),
    "llama": ("layers.{}.mlp.down_proj", "layers.{}.self_attn.o_proj"),
    "t5": ("block.{}.layer.1.DenseReluDense.wo", "block.{}.layer.0.SelfAttention.o"),
}


@pytest.mark.parametrize("kind", tiny.KINDS)
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
        _, spans, special = tiny.alone(model, sentence.text)
        pieces = tiny.pieces_of(sentence.offsets, spans, special)
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
    with torch.inference_mode(), capture(stack, sites, keep=torch.clone) as seen:
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
    runs = []
    for start in starts:
        given = torch.tensor([head + ids[start : start + room] + tail])
        with torch.inference_mode():
            out = model.model(input_ids=given, output_hidden_states=True)
        runs.append(out.hidden_states[1][0].numpy())
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
        want = runs[best][piece[-1] - starts[best] + len(head)]
        row = 2 + word
        near(store["hidden.1"][row], want)
    # Short sentences are run as ever.
    short = extract(tiny.corpus(("Rain !",)), model, progress=False)
    near(store.matrix(rows=np.arange(2)), short.matrix())


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


# Interruption and resuming ----------------------------------------------------------------------


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_TOKENS", 16)


def files_of(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
@pytest.mark.usefixtures("small_shards")
def test_interrupted_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, stop):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    extract(corpus, model, tmp_path / "whole", progress=False)
    real, made = module.write_shard, []

    def failing(folder, index, tensors):
        if len(made) == 2:
            (folder / "shard-00002.part").write_bytes(b"half a sh")
            raise stop("the lights went out")
        made.append(index)
        return real(folder, index, tensors)

    out = tmp_path / "cut"
    monkeypatch.setattr(module, "write_shard", failing)
    with pytest.raises(stop):
        extract(corpus, model, out, progress=False)
    assert sorted(p.name for p in out.glob("shard-*.safetensors")) == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    with pytest.raises(StoreError, match="unfinished; run it again"):
        Activations.open(out)
    again = []
    monkeypatch.setattr(module, "write_shard", lambda f, i, t: (again.append(i), real(f, i, t))[1])
    extract(corpus, model, out, progress=False)
    shards = len(list((tmp_path / "whole").glob("shard-*.safetensors")))
    assert shards > 3
    assert again == list(range(2, shards)), "finished shards are not made again"
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "mark"])
@pytest.mark.usefixtures("small_shards")
def test_damaged_shard_is_made_anew(tmp_path, harm):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    extract(corpus, model, out, progress=False)
    before = files_of(out)
    shard = out / "shard-00001.safetensors"
    data = bytearray(shard.read_bytes())
    if harm == "cut":
        shard.write_bytes(data[:-7])
    elif harm == "flip":
        data[-7] ^= 1
        shard.write_bytes(data)
    elif harm == "gone":
        shard.unlink()
    else:
        shard.with_suffix(".sha256").write_bytes(b"\xff\xfe")
    extract(corpus, model, out, progress=False)
    assert files_of(out) == before


@pytest.mark.usefixtures("small_shards")
def test_interrupt_while_writing_leaves_whole_files(tmp_path, monkeypatch):
    import nissl.store.shards as shards

    model, corpus = tiny.loaded("bert"), tiny.corpus()
    real = shards.publish
    for stop_at in range(1, 12):
        out = tmp_path / f"store{stop_at}"
        calls = 0

        def publish(partial, target, stop_at=stop_at):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            real(partial, target)

        monkeypatch.setattr(shards, "publish", publish)
        with pytest.raises(KeyboardInterrupt):
            extract(corpus, model, out, progress=False)
        for path in out.glob("shard-*.safetensors"):
            load_file(path)
        for path in out.glob("*.json"):
            json.loads(path.read_text())
        monkeypatch.setattr(shards, "publish", real)
        resumed = extract(corpus, model, out, progress=False)
        assert resumed.n_tokens == corpus.n_tokens
    assert files_of(out).keys() - {n for n in files_of(out) if n.endswith(".part")} == {
        n for n in files_of(tmp_path / "store3") if not n.endswith(".part")
    }


@pytest.mark.usefixtures("small_shards")
def test_other_settings_are_refused_and_named(tmp_path):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    extract(corpus, model, out, progress=False)
    before = files_of(out)
    cases = [
        ({"pooling": "mean"}, model, corpus, "pooling: last → mean"),
        (
            {"sites": ["mlp"]},
            model,
            corpus,
            r"sites: hidden.0…hidden.3 \(4\) → mlp.1, mlp.2, mlp.3",
        ),
        ({}, tiny.loaded("distilbert"), corpus, "model: .*bert → .*distilbert"),
        ({}, model, tiny.corpus(tiny.SENTENCES[:3]), "another text of the corpus"),
        (
            {},
            load_model(tiny.folder("bert"), dtype="bfloat16"),
            corpus,
            "dtype: float32 → bfloat16",
        ),
        ({}, load_model(tiny.folder("bert"), random_init=True), corpus, "another model"),
    ]
    for options, other, text, message in cases:
        with pytest.raises(
            StoreError, match=f"^{out}: holds an extraction with other settings.*{message}"
        ):
            extract(text, other, out, progress=False, **options)
    assert files_of(out) == before


def test_batch_size_is_no_setting_of_the_store(tmp_path, monkeypatch):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    extract(corpus, model, tmp_path / "s", progress=False)
    monkeypatch.setattr(module, "_run", None)
    extract(corpus, model, tmp_path / "s", batch_tokens=7, progress=False)


def test_a_used_tokenizer_and_a_moved_model_are_the_same(tmp_path, monkeypatch):
    # Calling a tokenizer with padding and truncation changes its state, which must not count.
    model, corpus = load_model(tiny.folder("bert")), tiny.corpus()
    extract(corpus, model, tmp_path / "s", progress=False)
    model.tokenizer(["a", "b c"], padding="max_length", truncation=True, max_length=9)
    moved = load_model(tiny.copy_folder("bert", tmp_path / "elsewhere"))
    monkeypatch.setattr(module, "_run", None)
    extract(corpus, model, tmp_path / "s", progress=False)
    extract(corpus, moved, tmp_path / "s", progress=False)


def test_tokenizer_that_pads_and_truncates_by_itself(tmp_path):
    # Such settings, stored in tokenizer.json by sentence encoders, must not cut or pad our input.
    folder = tiny.copy_folder("bert", tmp_path / "model")
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["truncation"] = {
        "direction": "Right",
        "max_length": 6,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    settings["padding"] = {
        "strategy": {"Fixed": 30},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(settings))
    corpus = tiny.corpus()
    got = extract(corpus, load_model(folder), progress=False)
    want = extract(corpus, tiny.loaded("bert"), progress=False)
    np.testing.assert_array_equal(got.matrix(), want.matrix())


# Labels -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_shards")
def test_other_labels_take_no_forward_pass(tmp_path, monkeypatch):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    first = extract(corpus, model, out, progress=False)
    values, times = first.matrix(), {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*")}
    monkeypatch.setattr(module, "_run", None)  # calling it would fail
    other = corpus.with_column(
        "case", [(w[0].isupper() and "up") or "low" for w in corpus.tokens["form"]]
    )
    other = other.with_splits(seed=3)
    second = extract(other, model, out, progress=False)
    assert second.labels == ("tag", "case")
    assert second.tokens.equals(other.tokens)
    assert second.fingerprint == first.fingerprint
    assert second.manifest["corpus_fingerprint"] != first.manifest["corpus_fingerprint"]
    np.testing.assert_array_equal(second.matrix(), values)
    assert {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*")} == times


@pytest.mark.parametrize("stop_at", ["tokens.parquet", "sentences.parquet", "manifest.json"])
def test_interrupted_relabelling_never_mixes_labels(tmp_path, monkeypatch, stop_at):
    model, corpus = tiny.loaded("bert"), tiny.corpus()
    out = tmp_path / "store"
    extract(corpus, model, out, progress=False)
    other = corpus.with_column("new", ["x"] * corpus.n_tokens)
    import nissl.store.shards as shards

    real = shards.publish

    def publish(partial, target):
        if target.name == stop_at:
            raise KeyboardInterrupt
        real(partial, target)

    monkeypatch.setattr(shards, "publish", publish)
    with pytest.raises(KeyboardInterrupt):
        extract(other, model, out, progress=False)
    with pytest.raises(StoreError, match="unfinished"):
        Activations.open(out)
    monkeypatch.setattr(shards, "publish", real)
    assert extract(other, model, out, progress=False).labels == ("tag", "new")


def test_moved_words_are_another_text(tmp_path):
    model = tiny.loaded("bert")
    corpus = tiny.corpus(("The cat sat .",))
    extract(corpus, model, tmp_path / "s", progress=False)
    _, spans = joined(["The", "cat", "sa"])
    assert spans[-1] == (8, 10)
    import polars as pl

    cut = corpus.tokens.with_columns(pl.Series("end", [3, 7, 10, 13], dtype=pl.Int32))
    other = Corpus("c", cut, corpus.sentences, corpus.labels)
    with pytest.raises(StoreError, match="another text"):
        extract(other, model, tmp_path / "s", progress=False)


# Folders ----------------------------------------------------------------------------------------


def test_second_writer_is_kept_out(tmp_path):
    from nissl.store.shards import lock

    out = tmp_path / "store"
    out.mkdir()
    with lock(out), pytest.raises(StoreError, match="another process is writing here"):
        extract(tiny.corpus(), tiny.loaded("bert"), out, progress=False)
    assert extract(tiny.corpus(), tiny.loaded("bert"), out, progress=False).n_tokens


def test_lock_of_a_killed_writer_does_not_hold(tmp_path):
    pid = os.fork()
    if pid == 0:
        from nissl.store.shards import lock

        with lock(tmp_path):
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert (tmp_path / ".lock").exists()
    assert extract(tiny.corpus(), tiny.loaded("bert"), tmp_path, progress=False).n_tokens


def test_foreign_folder_and_file_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(
        StoreError, match=r"neither empty nor an activation store \(it holds thesis.tex"
    ):
        extract(tiny.corpus(), tiny.loaded("bert"), tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="is a file"):
        extract(tiny.corpus(), tiny.loaded("bert"), tmp_path / "thesis.tex", progress=False)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_temporary_store_lives_and_dies_with_the_object():
    store = extract(tiny.corpus(), tiny.loaded("bert"), progress=False)
    path = store.path
    other = store.with_labels("x", ["a"] * store.n_tokens)
    del store
    assert other.matrix(rows=[0]).shape == (1, 4 * tiny.WIDTH)
    del other
    assert not path.exists()


def test_manifest_says_what_made_it(tmp_path):
    store = extract(tiny.corpus(), tiny.loaded("bert"), tmp_path / "s", progress=False)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["pooling"] == "last"
    assert manifest["corpus_fingerprint"] == tiny.corpus().fingerprint
    assert repr(store).startswith("Activations(")
    assert len(module.shard_files(store)) == len(manifest["shards"]) == 1


def test_half_precision_is_stored_as_it_is():
    model = load_model(tiny.folder("bert"), dtype="bfloat16")
    store = extract(tiny.corpus(), model, progress=False)
    raw = load_file(module.shard_files(store)[0])
    assert {value.dtype for value in raw.values()} == {torch.bfloat16}
    np.testing.assert_array_equal(store["hidden.1"], raw["hidden.1"].to(torch.float32).numpy())
    mean = extract(tiny.corpus(), model, pooling="mean", progress=False)
    assert mean.manifest["dtype"] == "bfloat16"
