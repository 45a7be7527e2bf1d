"""Too little memory or disk, other dtypes, nothing run in vain; and the parts this rests on."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch
import transformers
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from nissl.corpus import align, align_many
from nissl.errors import InputError, ModelError, StoreError
from nissl.extraction import collect, extract, settings
from nissl.extraction.settings import ShardPlan, plan_shards
from nissl.inputs import Item, batches
from nissl.model import load_model, resolve_sites, wrap_model
from nissl.store import Activations


def passes_of(monkeypatch, before=lambda ids: None):
    """Note ids and mask of every pass of an extraction; ``before`` may end it."""
    real, seen = collect.run, []

    def run(model, ids, mask):
        seen.append((ids.clone(), mask.clone()))
        before(ids)
        return real(model, ids, mask)

    monkeypatch.setattr(collect, "run", run)
    return seen


# Too little memory ------------------------------------------------------------------------------


def of_torch(n):
    """What torch itself says of a CPU's memory."""
    torch.empty(1 << 60)


def python_says(n):
    raise MemoryError


def cuda_says(n):
    raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {n} bytes.")


def mps_says(n):
    raise RuntimeError(f"MPS backend out of memory (other allocations: {n} MB)")


NO_MEMORY = [of_torch, python_says, cuda_says, mps_says]


class Device:
    """A model that takes so many tokens at once, and says of more, half way, that it cannot."""

    def __init__(self, monkeypatch, most, fails):
        self.model = load_model(tiny.folder("bert"))
        self.seen, self.failed, self.done = [], [], []
        real, now = collect.run, []

        def run(model, ids, mask):
            now[:] = [(ids.clone(), mask.clone())]
            self.seen += now
            try:
                return real(model, ids, mask)
            finally:
                now.clear()

        def half_way(module, args):
            if now and now[0][0].numel() > most:  # trials are not counted
                self.failed += now
                fails(now[0][0].numel())
            self.done += now

        monkeypatch.setattr(collect, "run", run)
        self.model.model.get_submodule("encoder.layer.1").register_forward_pre_hook(half_way)


@pytest.mark.parametrize("fails", NO_MEMORY)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_batch_without_room_is_halved_and_every_word_is_seen_once(monkeypatch, fails, pooling):
    corpus = tiny.corpus(tiny.SENTENCES * 3)
    want = extract(corpus, tiny.loaded("bert"), pooling=pooling, batch_tokens=64, progress=False)
    device = Device(monkeypatch, 40, fails)
    got = extract(corpus, device.model, pooling=pooling, batch_tokens=2000, progress=False)
    assert len(device.failed) > 1, "the device must refuse a few sizes to test anything"
    np.testing.assert_allclose(got.matrix(), want.matrix(), rtol=0, atol=1e-5)
    sentences = Counter(
        tuple(row[keep == 1].tolist())
        for ids, mask in device.done
        for row, keep in zip(ids, mask, strict=True)
    )
    texts = [sentence.text for sentence in corpus]
    assert sentences == Counter(map(tuple, device.model.tokenizer(texts)["input_ids"]))


def test_the_smaller_batch_is_kept_for_later_shards(monkeypatch):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 80)
    device = Device(monkeypatch, 60, cuda_says)
    store = extract(tiny.corpus(tiny.SENTENCES * 6), device.model, batch_tokens=500, progress=False)
    assert len(store.manifest["shards"]) > 4
    sizes = [ids.numel() for ids, _ in device.seen]
    assert device.failed
    last = max(i for i, size in enumerate(sizes) if size > 60)
    assert last < len(sizes) / 3, "a later shard tried the large batch again"
    for i, size in enumerate(sizes):
        if size > 60:
            assert max(sizes[i + 1 :]) <= size // 2


@pytest.mark.parametrize("fails", NO_MEMORY)
def test_a_sentence_without_room_is_named(monkeypatch, fails, tmp_path):
    device = Device(monkeypatch, 10, fails)
    lengths = [len(ids) for ids in device.model.tokenizer(list(tiny.SENTENCES))["input_ids"]]
    longest = int(np.argmax(lengths))
    with pytest.raises(
        ModelError,
        match=rf"^tiny.txt:{longest + 1}: device cpu has too little memory for this sentence of "
        rf"{max(lengths)} subwords; use a smaller --dtype, fewer sites, or --on-long window",
    ) as caught:
        extract(tiny.corpus(), device.model, tmp_path / "s", progress=False)
    assert caught.value.where == f"tiny.txt:{longest + 1}"
    assert not any(m._forward_hooks for m in device.model.model.modules()), "hooks remain"
    with pytest.raises(StoreError, match="unfinished"):
        Activations.open(tmp_path / "s")


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes (3x4) and (5x6) cannot be multiplied"), KeyError("memory")]
)
def test_other_errors_of_a_model_pass_through(monkeypatch, error):
    def fails(n):
        raise error

    device = Device(monkeypatch, 60, fails)
    with pytest.raises(type(error)) as caught:
        extract(tiny.corpus(), device.model, progress=False)
    assert caught.value is error
    assert len(device.failed) == 1, "it was tried again"


# Dtypes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_smaller_store_dtype_is_the_rounding_of_the_values(dtype, pooling):
    corpus, model = tiny.corpus(), tiny.loaded("bert")
    wide = extract(corpus, model, pooling=pooling, progress=False)
    small = extract(corpus, model, pooling=pooling, store_dtype=dtype, progress=False)
    assert small.manifest["dtype"] == dtype
    assert small.manifest["model_dtype"] == "float32"
    raw = load_file(small.path / "shard-00000.safetensors")
    for site in wide.sites:
        want = torch.from_numpy(np.ascontiguousarray(wide[site.name].T)).to(getattr(torch, dtype))
        assert torch.equal(raw[site.name], want)
        np.testing.assert_array_equal(small[site.name], want.float().numpy().T)
    assert wide.manifest["dtype"] == "float32"


def test_a_smaller_model_is_kept_as_it_computes():
    model = load_model(tiny.folder("bert"), dtype="bfloat16")
    own = extract(tiny.corpus(), model, progress=False)
    wide = extract(tiny.corpus(), model, store_dtype="float32", progress=False)
    assert [s.manifest["dtype"] for s in (own, wide)] == ["bfloat16", "float32"]
    raw = load_file(own.path / "shard-00000.safetensors")
    assert {value.dtype for value in raw.values()} == {torch.bfloat16}
    np.testing.assert_array_equal(own.matrix(), wide.matrix())


@pytest.fixture(params=["Rain", "birds"])
def loud(tmp_path, request):
    """GPT-2 with one token whose embedding is too large for float16; and the token's first word.

    One is the first word of a sentence that is not the first of its shard.
    """
    folder = tiny.copy_folder("gpt2", tmp_path / "model")
    tokenizer = load_model(folder).tokenizer
    corpus = tiny.corpus()
    last = []
    for sentence in corpus:
        given = tokenizer(
            sentence.text, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        pieces = tiny.pieces_of(
            sentence.offsets, given["offset_mapping"], given["special_tokens_mask"]
        )
        last += [given["input_ids"][piece[-1]] for piece in pieces]
    row = corpus.tokens["form"].to_list().index(request.param)
    assert last.index(last[row]) == row
    weights = load_file(folder / "model.safetensors")
    (name,) = [name for name in weights if name.endswith("wte.weight")]

    def at(value):
        weights[name][last[row], 5] = value
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return load_model(folder)

    return at, corpus, row


@pytest.mark.parametrize("value", [1e5, -1e5])
def test_a_value_too_large_for_float16_names_neuron_word_and_cure(loud, monkeypatch, value):
    at, corpus, row = loud
    monkeypatch.setattr(settings, "SHARD_TOKENS", 16)
    model = at(value)
    options = {"sites": ["hidden.0"], "progress": False}
    word = corpus.tokens.row(row, named=True)
    with pytest.raises(
        ModelError,
        match=rf"^tiny.txt:{word['sentence'] + 1}: neuron hidden.0:5 is -?inf at word "
        rf'{word["position"] + 1} "{word["form"]}"; it may be too large for float16: store '
        r"bfloat16 or float32 \(--store-dtype\)$",
    ):
        extract(corpus, model, store_dtype="float16", **options)
    for dtype in ("bfloat16", "float32", "model"):
        got = extract(corpus, model, store_dtype=dtype, **options)["hidden.0"]
        assert got[row, 5] == pytest.approx(value, rel=1 / 128)


def test_the_largest_float16_and_a_sum_beyond_it_are_kept(loud):
    at, corpus, row = loud
    store = extract(corpus, at(65_000.0), sites=["hidden.0"], store_dtype="float16", progress=False)
    assert store["hidden.0"][row, 5] == pytest.approx(65_000, rel=1e-3)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"store_dtype": "float16"}, {"store_dtype": "bfloat16"}, "--store-dtype"),
        ({"sites": ["module.wte", "module.h.0.attn.nothing"]}, {"sites": ["hidden"]}, None),
    ],
)
def test_what_an_error_advises_can_be_done_in_the_same_folder(
    loud, tmp_path, before, after, message
):
    at, corpus, _ = loud
    model = at(1e5)
    with pytest.raises(ValueError, match=message):
        extract(corpus, model, tmp_path / "s", progress=False, **before)
    store = extract(corpus, model, tmp_path / "s", progress=False, **after)
    assert store.manifest["dtype"] == after.get("store_dtype", "float32")


def test_a_long_sentence_can_be_run_in_windows_in_the_same_folder(tmp_path):
    corpus = tiny.corpus((" ".join(tiny.SENTENCES),))
    model, out = tiny.loaded("bert"), tmp_path / "s"
    with pytest.raises(InputError, match="--on-long window"):
        extract(corpus, model, out, progress=False)
    assert extract(corpus, model, out, on_long="window", progress=False).manifest["windows"][
        "count"
    ]
    with pytest.raises(StoreError, match="on_long: window → error"):
        extract(corpus, model, out, progress=False)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_module_without_a_row_for_each_token_is_refused(pooling):
    with pytest.raises(
        ModelError,
        match=r"site module.pooler has shape \(\d+, 16\) in a pass of \d+ × \d+ tokens, not a row "
        "for each; name another module",
    ):
        extract(
            tiny.corpus(),
            tiny.loaded("bert"),
            sites=["hidden", "module.pooler"],
            pooling=pooling,
            progress=False,
        )


# Nothing in vain --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sites", "ran", "never"),
    [
        ("bert", ["hidden.0"], ["embeddings"], ["encoder.layer."]),
        ("bert", ["hidden.2", "hidden.1"], ["encoder.layer.0", "encoder.layer.1"], ["*.layer.2"]),
        ("bert", ["mlp.2"], ["encoder.layer.0"], ["encoder.layer.1.output", "*.layer.2"]),
        ("bert", ["hidden"], ["encoder.layer.2"], ["pooler"]),
        ("gpt2", ["hidden.1"], ["h.0"], ["h.1", "h.2", "ln_f"]),
        ("t5", ["encoder.hidden.1"], ["encoder.block.0"], ["encoder.block.1", "decoder"]),
        ("t5", ["encoder"], ["encoder.block.2"], ["encoder.final_layer_norm", "decoder"]),
        ("t5", ["decoder.hidden.0"], ["encoder.block.2"], ["decoder.block.0"]),
        ("t5", ["hidden"], ["encoder.block.2", "decoder.block.0"], ["decoder.final_layer_norm"]),
    ],
)
def test_a_pass_ends_when_every_site_was_seen(monkeypatch, kind, sites, ran, never):
    model = load_model(tiny.folder(kind))
    found = resolve_sites(model, sites)
    want = extract(tiny.corpus(), model, sites=found, progress=False).matrix()
    finished: Counter = Counter()

    def note(name):
        return lambda module, args, out: finished.update([name])

    for name, module in model.model.named_modules():
        module.register_forward_hook(note(name))
    passes = passes_of(monkeypatch)
    got = extract(tiny.corpus(), model, sites=found, batch_tokens=60, progress=False).matrix()
    assert len(passes) > 2
    assert {name: finished[name] for name in ran} == dict.fromkeys(ran, len(passes))
    for start in never:
        start = start.replace("*", "encoder")
        late = [name for name in finished if name.startswith(start)]
        assert not late, f"{late} ran in vain"
    assert not finished[""]
    near = 1e-4 * max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=0, atol=near)


# Models that mix padding ------------------------------------------------------------------------


class Mean(torch.nn.Module):
    """A block that takes off the mean over the length, padding and all."""

    def __init__(self):
        super().__init__()
        self.up, self.bend = torch.nn.Linear(8, 12), torch.nn.Tanh()
        self.down, self.rest = torch.nn.Linear(12, 8), torch.nn.Identity()

    def forward(self, x):
        mean = x.mean(dim=1, keepdim=True)
        return x + self.rest(self.down(self.bend(self.up(x - mean))))


class Leaky(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.word = torch.nn.Embedding(130, 8)
        self.blocks = torch.nn.ModuleList(Mean() for _ in range(2))

    def forward(self, input_ids):
        x = self.word(input_ids)
        for block in self.blocks:
            x = block(x)
        return x


def test_a_model_that_mixes_padding_is_given_none(monkeypatch):
    module = Leaky()
    model = wrap_model(module, tiny.tokenizer("bert"), name="leaky", max_length=tiny.LENGTH)
    corpus = tiny.corpus(tiny.SENTENCES * 2)
    refused = []

    def most(ids):
        if ids.numel() > 40:
            refused.append(ids.shape)
            raise MemoryError

    passes = passes_of(monkeypatch, most)
    store = extract(corpus, model, batch_tokens=500, progress=False)
    assert all(mask.all() for _, mask in passes)
    assert max(len(ids) for ids, _ in passes) > 1
    assert refused, "the test wants the batches halved too"
    rows: dict[str, list[np.ndarray]] = {}
    for sentence in corpus:
        given = model.tokenizer(
            sentence.text, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        pieces = tiny.pieces_of(
            sentence.offsets, given["offset_mapping"], given["special_tokens_mask"]
        )
        with torch.inference_mode():
            x = module.word(torch.tensor([given["input_ids"]]))
            for i in range(3):
                part = tiny.pool(x[0].numpy(), pieces, "last")
                rows.setdefault(f"hidden.{i}", []).append(part)
                x = module.blocks[i](x) if i < 2 else x
    assert [site.name for site in store.sites] == list(rows)
    for name, parts in rows.items():
        np.testing.assert_allclose(store[name], np.concatenate(parts), rtol=0, atol=1e-5)
    padded = passes_of(monkeypatch)
    extract(corpus, tiny.loaded("bert"), batch_tokens=500, progress=False)
    assert not all(mask.all() for _, mask in padded), "a model that may be padded is"


def test_a_model_of_which_nothing_is_known_is_given_no_padding(monkeypatch):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.top = torch.nn.Embedding(130, 8), torch.nn.Linear(8, 4)

        def forward(self, input_ids):
            x = self.word(input_ids)
            return self.top(x - x.mean(dim=1, keepdim=True))

    model = wrap_model(Plain(), tiny.tokenizer("bert"), name="plain")
    passes = passes_of(monkeypatch)
    options = {"sites": ["module.top", "module.top@input"], "progress": False}
    together = extract(tiny.corpus(tiny.SENTENCES * 2), model, batch_tokens=500, **options)
    assert all(mask.all() for _, mask in passes)
    assert max(len(ids) for ids, _ in passes) > 1
    one_by_one = extract(tiny.corpus(tiny.SENTENCES * 2), model, batch_tokens=1, **options)
    np.testing.assert_allclose(together.matrix(), one_by_one.matrix(), rtol=0, atol=1e-5)


def test_a_model_of_very_few_words_is_run():
    """As of DNA: the ids that tell whether padding is mixed in may not be there."""
    words = {"[PAD]": 0, "[UNK]": 1, "A": 2, "B": 3, "C": 4}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]")
    module = Leaky()
    module.word = torch.nn.Embedding(len(words), 8)
    model = wrap_model(module, tokenizer, name="few")
    text = tiny.corpus(("A B C A", "C C", "B A B A C A A"))
    store = extract(text, model, sites=["hidden.0"], batch_tokens=100, progress=False)
    ids = [words[form] for form in text.tokens["form"]]
    np.testing.assert_array_equal(store.matrix(), module.word.weight.numpy()[ids])


# Too little room on the disk --------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def room(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_disk_too_small_is_refused_before_any_shard(monkeypatch, tmp_path, dtype):
    corpus, model, out = tiny.corpus(), tiny.loaded("bert"), tmp_path / "s"
    options = {"store_dtype": dtype, "progress": False}
    need = corpus.n_tokens * 4 * tiny.WIDTH * (4 if dtype == "float32" else 2)
    passes = passes_of(monkeypatch)
    room(monkeypatch, need - 1)
    with pytest.raises(
        StoreError,
        match=rf"^{out}: the store needs 0.00 GB more and the disk has 0.00 GB; name a folder on "
        "another disk, fewer sites, or --store-dtype float16",
    ):
        extract(corpus, model, out, **options)
    assert not passes
    assert not list(out.glob("shard-*"))
    room(monkeypatch, need)
    assert extract(corpus, model, out, **options).n_tokens == corpus.n_tokens


def test_only_the_shards_that_are_left_need_room(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "SHARD_TOKENS", 16)
    corpus, model, out = tiny.corpus(), tiny.loaded("bert"), tmp_path / "s"
    store = extract(corpus, model, out, progress=False)
    first, last = store.manifest["shards"][2]["rows"]
    need = (last - first) * 4 * tiny.WIDTH * 4
    (out / "shard-00002.safetensors").unlink()
    room(monkeypatch, need - 1)
    with pytest.raises(StoreError, match="the disk has"):
        extract(corpus, model, out, progress=False)
    room(monkeypatch, need)
    extract(corpus, model, out, progress=False)
    room(monkeypatch, 0)
    extract(corpus, model, out, progress=False)


def test_the_gigabytes_are_right(monkeypatch, tmp_path):
    from nissl.extraction.extract import _check_room

    sites = resolve_sites(tiny.loaded("bert"), ["hidden", "mlp"])
    about = {"sites": [vars(site) for site in sites], "dtype": "bfloat16"}
    plans = [ShardPlan(0, (0, 1), (0, 10**8)), ShardPlan(1, (1, 2), (10**8, 2 * 10**8))]
    room(monkeypatch, 1_234_567_890)
    width = 4 * tiny.WIDTH + tiny.BLOCKS * tiny.MLP
    with pytest.raises(
        StoreError, match=f"needs {2 * 10**8 * width * 2 / 1e9:.2f} GB more.*has 1.23 GB"
    ):
        _check_room(tmp_path, about, plans)


# Memory of a long corpus ------------------------------------------------------------------------

GROWTH = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from nissl.parallel import set_threads
set_threads(1)
import tiny_models as tiny
from nissl.extraction import extract, settings
from nissl.model import load_model

settings.SHARD_TOKENS = 500
model = load_model(sys.argv[2])

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

def growth(words, out):
    text = tiny.corpus(tiny.SENTENCES * (words // 73 + 1))
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS:")
    store = extract(text, model, out, sites=["hidden", "mlp"], batch_tokens=4096, progress=False)
    table = text.tokens.estimated_size() + text.sentences.estimated_size()
    size = sum(shard["bytes"] for shard in store.manifest["shards"])
    peak = status("VmHWM:") - before
    return {"words": store.n_tokens, "peak": peak, "table": table, "size": size}

growth(4000, sys.argv[3] + "/warm")
print(json.dumps([growth(4000, sys.argv[3] + "/few"), growth(40_000, sys.argv[3] + "/many")]))
"""
MOST_GROWTH = 6_000_000
"""Bytes beyond the tables by which ten times the words may raise the peak."""


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        pytest.skip(f"the peak of memory cannot be reset here ({error})")
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, tests, str(tiny.folder("bert")), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout.splitlines()[-1])
    assert many["words"] > 9 * few["words"]
    assert many["size"] - few["size"] > 4 * MOST_GROWTH, "holding the shards would be seen"
    more = many["peak"] - few["peak"]
    assert more < MOST_GROWTH + 2 * many["table"], (
        f"{more / 1e6:.1f} MB more for ten times the words"
    )


# Reading, aligning, planning --------------------------------------------------------------------


@given(st.data())
def test_read_is_a_slice_of_the_sentences(data):
    texts = data.draw(st.lists(st.sampled_from(tiny.SENTENCES), min_size=1, max_size=12))
    corpus = tiny.corpus(tuple(texts))
    first = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(first, len(texts) + 2))
    assert corpus.read(first, stop) == list(corpus)[first:stop]
    assert [s.text for s in corpus.read(first, stop)] == texts[first:stop]


@st.composite
def spans(draw, least=0):
    """Sentences of words and pieces, ordered or not, empty or not, in texts of some length."""
    length = draw(st.integers(1, 14))
    span = st.tuples(st.integers(0, length), st.integers(0, length)).map(lambda p: tuple(sorted(p)))
    ordered = st.sets(st.integers(0, length), max_size=9).map(
        lambda cuts: list(itertools.pairwise(sorted(cuts)))
    )
    words = draw(st.one_of(ordered, st.lists(span, max_size=5)))
    pieces = draw(
        st.one_of(ordered, ordered.map(lambda p: sorted(p * 2)), st.lists(span, max_size=7))
    )
    if draw(st.booleans()):
        pieces = [(a, b) for a, b in [(0, 0), *pieces, (0, length)]]
        special = [1, *(draw(st.integers(0, 4)) == 0 for _ in pieces[1:-1]), 1]
    else:
        special = [draw(st.integers(0, 4)) == 0 for _ in pieces]
    return words, pieces, list(map(int, special)), length


def flat(parts):
    return np.array([s for part in parts for s in part], dtype=np.int64).reshape(-1, 2)


@examples(max_examples=400)
@given(st.lists(spans(), min_size=1, max_size=4))
def test_aligning_many_is_aligning_each_or_none(case):
    words, pieces, special, lengths = zip(*case, strict=True)
    got = align_many(
        flat(words),
        flat(pieces),
        np.array([s for part in special for s in part], dtype=np.int8),
        np.array([len(w) for w in words]),
        np.array([len(p) for p in pieces]),
        np.array(lengths),
    )
    in_order = True
    for part, marks in zip(pieces, special, strict=True):
        used = [(a, b) for (a, b), mark in zip(part, marks, strict=True) if not mark and b > a]
        for one, two in itertools.pairwise(used):
            in_order &= one[0] <= two[0] and one[1] <= two[1]
    try:
        want = [
            hit.tolist()
            for each in zip(words, pieces, special, strict=True)
            for hit in align(*each)
        ]
    except InputError:
        want = None
    if want is None or not in_order:
        assert got is None
    else:
        assert got is not None
        positions, bounds = got
        assert bounds[0] == 0
        assert bounds[-1] == len(positions)
        assert [positions[a:b].tolist() for a, b in itertools.pairwise(bounds)] == want


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 60))
def test_shards_are_whole_sentences_once_and_in_order(lengths, most):
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    plans = plan_shards(bounds, most)
    assert [plan.index for plan in plans] == list(range(len(plans)))
    assert [i for plan in plans for i in range(*plan.sentences)] == list(range(len(lengths)))
    for plan in plans:
        first, stop = plan.sentences
        assert plan.rows == (bounds[first], bounds[stop])
        assert plan.n_rows == sum(lengths[first:stop])
        assert plan.n_rows <= most or stop - first == 1
    for one, two in itertools.pairwise(plans):
        assert one.n_rows + lengths[two.sentences[0]] > most, "the next sentence had room"


# Batches ----------------------------------------------------------------------------------------


def cheapest(lengths: tuple[int, ...], budget: int, call: float, equal: bool) -> float:
    """Cost of the best way to cut lengths that fall, by trying every way."""

    @functools.cache
    def rest(i: int) -> float:
        if i == len(lengths):
            return 0.0
        return min(
            call + (j - i) * lengths[i] + rest(j)
            for j in range(i + 1, len(lengths) + 1)
            if j == i + 1
            or ((j - i) * lengths[i] <= budget and not (equal and lengths[j - 1] < lengths[i]))
        )

    return rest(0)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=14), st.integers(1, 120), st.booleans())
def test_batches_are_the_cheapest_cut_of_the_sorted_inputs(lengths, budget, equal):
    empty = np.empty(0, np.int64)
    items = [Item(np.arange(n), empty, empty, empty) for n in lengths]
    cut = batches(items, budget, equal_lengths=equal)
    assert sorted(map(id, itertools.chain.from_iterable(cut))) == sorted(map(id, items))
    falling = [len(item) for batch in cut for item in batch]
    assert falling == sorted(lengths, reverse=True)
    for batch in cut:
        assert len(batch) == 1 or len(batch) * len(batch[0]) <= budget
        assert not equal or len({len(item) for item in batch}) == 1
    call = budget / 16
    cost = sum(call + len(batch) * len(batch[0]) for batch in cut)
    assert cost == pytest.approx(cheapest(tuple(falling), budget, call, equal))
