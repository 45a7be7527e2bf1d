"""NeuroX files out and in: its own loader reads ours, and a file that does not fit is refused."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.corpus.corpus import Sentence, build_corpus, joined
from nissl.errors import InputError, SettingError, StoreError
from nissl.site import Site
from nissl.store import verify_store, write_store
from nissl.store.bridge import from_neurox, neurox_in, to_neurox
from nissl.store.bridge.neurox_words import match, without_count

DTYPES = ("float32", "float16", "bfloat16")
SUFFIXES = (".json", ".hdf5")
TEXT = [["He", "ran"], ["é", "Zwölf", "playing", "."], ["He", "ran"], ["ok"]]


@pytest.fixture(params=SUFFIXES)
def suffix(request):
    if request.param == ".hdf5":
        pytest.importorskip("h5py", reason="h5py is in the bridge extra")
    return request.param


def corpus_of(text):
    rows, tags = [], []
    for i, words in enumerate(text):
        whole, offsets = joined(words)
        rows.append(Sentence(f"s{i}", whole, tuple(words), tuple(offsets), f"t.txt:{i + 1}"))
        tags += ["N" if len(word) > 2 else None for word in words]
    return build_corpus("c", rows, {"pos": tags}, labels=["pos"], left_out={"empty": 2})


def planted(folder, text, layers=(0, 1, 2), width=3, dtype="float32", seed=0):
    """Return a corpus and its store of random values, in shards of three tokens."""
    corpus = corpus_of(text)
    rng = np.random.default_rng(seed)
    sites = [Site("hidden", i, f"blocks.{i}", "output", width) for i in layers]
    values = {site.name: rng.normal(size=(corpus.n_tokens, width)) for site in sites}
    store = write_store(
        folder, model="m", corpus="c", sites=sites, tokens=corpus.tokens,
        sentences=corpus.sentences, labels=corpus.labels, dtype=dtype,
        blocks=(
            {k: v[a : a + 3] for k, v in values.items()} for a in range(0, corpus.n_tokens, 3)
        ),
    )  # fmt: skip
    return corpus, store


def by_hand(path, words, values):
    """Write a file as NeuroX does: words as its tokenizer spells them, values of each sentence.

    Values are a list of (layers, words, width).
    """
    if path.suffix == ".json":
        with path.open("w", encoding="utf-8") as file:
            for i, (sentence, array) in enumerate(zip(words, values, strict=True)):
                features = [
                    {
                        "token": word,
                        "layers": [
                            {"index": k, "values": [float(x) for x in layer[j]]}
                            for k, layer in enumerate(array)
                        ],
                    }
                    for j, word in enumerate(sentence)
                ]
                file.write(json.dumps({"linex_index": i, "features": features}) + "\n")
        return path
    import h5py

    index = {}
    with h5py.File(path, "w") as file:
        for i, (sentence, array) in enumerate(zip(words, values, strict=True)):
            file.create_dataset(str(i), data=np.asarray(array, dtype="f4"))
            name, count = " ".join(sentence), 1
            while name in index:
                count += 1
                name = f"{' '.join(sentence)} (Occurrence {count})"
            index[name] = str(i)
        dataset = file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())
        dataset[0] = json.dumps(index)
    return path


def random_values(text, layers=2, width=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(layers, len(words), width)).astype(np.float32) for words in text]


def flat(values):
    """Turn values of sentences to (tokens, layers × width), as a store has them."""
    return np.vstack([array.transpose(1, 0, 2).reshape(array.shape[1], -1) for array in values])


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_and_in_again_is_the_store(tmp_path, suffix, dtype):
    corpus, store = planted(tmp_path / "store", TEXT, dtype=dtype)
    path = to_neurox(store, tmp_path / f"a{suffix}")
    got = from_neurox(path, corpus, tmp_path / "in", model="m", dtype=dtype)
    np.testing.assert_array_equal(got.matrix().view("u4"), store.matrix().view("u4"))
    assert [site.name for site in got.sites] == ["hidden.0", "hidden.1", "hidden.2"]
    assert got.tokens.equals(store.tokens)
    assert got.sentences.equals(store.sentences)
    assert got.labels == ("pos",)
    assert got.manifest["left_out"] == {"empty": 2}
    assert got.manifest["corpus_fingerprint"] == corpus.fingerprint
    assert got.manifest["words"] == {"equal": 9}
    assert got.manifest["source"]["file"] == f"a{suffix}"
    assert verify_store(tmp_path / "in") == []


word = st.text(st.characters(exclude_categories=("Cs", "Zs", "Cc", "Zl", "Zp")), min_size=1)


@settings(max_examples=30)
@given(
    text=st.lists(st.lists(word, min_size=1, max_size=4), min_size=1, max_size=5),
    layers=st.integers(1, 3),
    width=st.integers(1, 3),
    kind=st.sampled_from(SUFFIXES),
)
def test_any_words_survive(tmp_path_factory, text, layers, width, kind):
    if kind == ".hdf5":
        pytest.importorskip("h5py", reason="h5py is in the bridge extra")
    folder = tmp_path_factory.mktemp("any")
    corpus, store = planted(folder / "store", text, range(layers), width)
    got = from_neurox(to_neurox(store, folder / f"a{kind}"), corpus, folder / "in", model="m")
    np.testing.assert_array_equal(got.matrix(), store.matrix())
    assert got.manifest["words"] == {"equal": corpus.n_tokens}


def test_neurox_reads_what_we_write(tmp_path, suffix):
    loader = pytest.importorskip("neurox.data.loader", reason="the package neurox is not installed")
    _, store = planted(tmp_path / "store", TEXT)
    path = to_neurox(store, tmp_path / f"a{suffix}")
    sentences, layers = loader.load_activations(str(path))
    assert layers == 3
    assert [len(values) for values in sentences] == [2, 4, 2, 1]
    np.testing.assert_array_equal(np.vstack(sentences).astype(np.float32), store.matrix())


def test_we_read_what_neurox_writes(tmp_path, suffix):
    writer = pytest.importorskip("neurox.data.writer", reason="the package neurox is not installed")
    values = random_values(TEXT)
    theirs = writer.ActivationsWriter.get_writer(str(tmp_path / f"a{suffix}"))
    spelled = [["he", "ran"], ["[UNK]", "zwolf", "play##ing", "."], ["he", "ran"], ["ok"]]
    for i, (words, array) in enumerate(zip(spelled, values, strict=True)):
        theirs.write_activations(i, words, array)
    theirs.close()
    got = from_neurox(tmp_path / f"a{suffix}", corpus_of(TEXT), tmp_path / "in", model="m")
    # JSON of NeuroX has eight decimals.
    np.testing.assert_allclose(
        got.matrix(), flat(values), rtol=0, atol=1e-8 if suffix == ".json" else 0
    )
    assert got.manifest["words"] == {"spelled": 4, "unknown": 1, "equal": 4}


def test_blocks_are_cut_between_sentences(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(neurox_in, "BLOCK_WORDS", 3)
    values = random_values(TEXT)
    path = by_hand(tmp_path / f"a{suffix}", TEXT, values)
    got = from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m")
    assert [shard["rows"] for shard in got.manifest["shards"]] == [[0, 2], [2, 6], [6, 9]]
    np.testing.assert_array_equal(got.matrix(), flat(values))


def test_layers_are_named(tmp_path, suffix):
    corpus = corpus_of(TEXT)
    path = by_hand(tmp_path / f"a{suffix}", TEXT, random_values(TEXT))
    got = from_neurox(path, corpus, tmp_path / "one", model="m", layers=[4, 12])
    assert [site.name for site in got.sites] == ["hidden.4", "hidden.12"]
    for wrong in ([1], [1, 1], [-1, 0]):
        with pytest.raises(SettingError, match="has 2 layers"):
            from_neurox(path, corpus, tmp_path / "no", model="m", layers=wrong)
    path = by_hand(tmp_path / f"a-layer7{suffix}", TEXT, random_values(TEXT, layers=1))
    got = from_neurox(path, corpus, tmp_path / "two", model="m")
    assert [site.name for site in got.sites] == ["hidden.7"]


def cut_word(text, values):
    values[1] = values[1][:, :3]
    text[1] = text[1][:3]


def longer(text, values):
    values[1] = np.concatenate([values[1], values[1][:, :1]], axis=1)
    text[1].append("more")


def other_word(text, values):
    text[1][2] = "played"


def no_subword(text, values):
    text[1][0] = ""


def no_last(text, values):
    del text[2:], values[2:]


def one_more(text, values):
    text.append(["new"])
    values.append(values[3])


def swapped(text, values):
    text[0], text[1] = text[1], text[0]
    values[0], values[1] = values[1], values[0]


def not_finite(text, values):
    values[1][1, 2, 0] = np.inf


def other_width(text, values):
    values[2] = values[2][:, :, :2]


def other_layers(text, values):
    values[2] = values[2][:1]


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (cut_word, ("2", "1"), 'sentence "s1" has 3 words in the file and 4 .*too long'),
        (longer, ("2", "1"), 'sentence "s1" has 5 words in the file and 4 in the corpus'),
        (other_word, ("2", "1"), 'word 3 of sentence "s1" is "played" .* "playing" in the corpus'),
        (no_subword, ("2", "1"), 'word 1 of sentence "s1", "é", had no subword'),
        (no_last, None, 'ends after 2 sentences; sentence "s2" and 1 after it are missing'),
        (one_more, ("5", "4"), "a sentence more than the corpus has"),
        (swapped, ("1", "0"), 'sentence "s0" has 4 words in the file and 2'),
        (not_finite, ("2", "1"), 'neuron 0 of layer 1 is inf at word 3, "playing", of .*"s1"'),
        (other_width, ("3", "2"), 'sentence "s2" has layers .* of 2 neurons, the first .* of 3'),
        (other_layers, ("3", "2"), r'sentence "s2" has layers \[0\] .* has \[0, 1\]'),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tmp_path, suffix, change, place, message):
    words, values = [list(sentence) for sentence in TEXT], random_values(TEXT)
    change(words, values)
    path = by_hand(tmp_path / f"a{suffix}", words, values)
    where = f"{path}" if place is None else f"{path}:{place[SUFFIXES.index(suffix)]}: "
    with pytest.raises(InputError, match=message) as caught:
        from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m")
    assert str(caught.value).startswith(where)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"linex_index": 0, "features": [', "is not JSON"),
        ("\udcff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a sentence of NeuroX"),
        ('{"features": 1}', "not a sentence of NeuroX"),
        ('{"linex_index": 3, "features": []}', "linex_index 3 in place of 0"),
        ('{"linex_index": false, "features": []}', "linex_index False in place of 0"),
        ('{"features": []}', "has 0 words"),
        ('{"features": [{"token": "ok"}]}', "word 1 has no token or no layers"),
        ('{"features": [{"token": 1, "layers": [1]}]}', "word 1 has no token or no layers"),
        ('{"features": [{"token": "ok", "layers": [1]}]}', "layer without an index"),
        ('{"features": [{"token": "ok", "layers": [{"index": true}]}]}', "layer without an index"),
        ('{"features": [{"token": "ok", "layers": [{"index": 0}]}]}', "no values in layer 0"),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": []}]}]}',
            "values that are not numbers, or none",
        ),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": ["1"]}]}]}',
            "values that are not numbers",
        ),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": [[1], 2]}]}]}',
            "values that are not numbers",
        ),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": [1e300]}]}]}',
            "1e.300, which float32 cannot hold",
        ),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": [NaN]}]}]}',
            "neuron 0 of layer 0 is nan",
        ),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": [1, 2]}, '
            '{"index": 1, "values": [1]}]}]}',
            "word 1 has 1 values in layer 1, where word 1 has 2 in layer 0",
        ),
        (
            '{"features": [{"token": "ok", "layers": [{"index": 0, "values": [1]}, '
            '{"index": 0, "values": [1]}]}]}',
            "two of one index",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.json"
    path.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(InputError, match=message) as caught:
        from_neurox(path, corpus_of([["ok"]]), tmp_path / "in", model="m")
    assert caught.value.where == f"{path}:1"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_words_of_a_line_have_the_same_layers(tmp_path):
    layer = '{"index": %d, "values": [1]}'
    words = [f'{{"token": "ok", "layers": [{layer % i}]}}' for i in range(2)]
    (tmp_path / "a.json").write_text(f'{{"features": [{", ".join(words)}]}}')
    with pytest.raises(InputError, match=r"a.json:1: word 2 has layers \[1\], word 1 has \[0\]"):
        from_neurox(tmp_path / "a.json", corpus_of([["ok", "ok"]]), tmp_path / "in", model="m")


@pytest.mark.parametrize("damage", ["index", "gap", "link", "external", "shape", "kind", "text"])
def test_a_bad_hdf5_file_is_named(tmp_path, damage):
    h5py = pytest.importorskip("h5py", reason="h5py is in the bridge extra")
    path = by_hand(tmp_path / "a.hdf5", TEXT, random_values(TEXT))
    secret = by_hand(tmp_path / "b.hdf5", TEXT, random_values(TEXT))
    message = {
        "index": 'no dataset "sentence_to_index"',
        "gap": 'has 4 sentences, but none is "1"',
        "link": 'no dataset "2" of its own',
        "external": 'no dataset "2" of its own',
        "shape": r"a.hdf5:2: has shape \(3,\)",
        "kind": "a.hdf5:2: has shape .*int64",
        "text": "sentence_to_index: is not one text",
    }[damage]
    with h5py.File(path, "r+") as file:
        if damage in ("index", "text"):
            del file["sentence_to_index"]
            if damage == "text":
                file["sentence_to_index"] = np.zeros(1)
        elif damage == "gap":
            file["sentence_to_index"][0] = json.dumps({str(i): str(i * 2) for i in range(4)})
        else:
            del file["2"]
            if damage == "link":
                file["2"] = h5py.ExternalLink(secret, "2")
            elif damage == "external":
                file.create_dataset("2", (2, 2, 3), "f4", external=[(str(secret), 0, 48)])
            else:
                file["2"] = np.zeros(3) if damage == "shape" else np.zeros((2, 2, 3), int)
    with pytest.raises(InputError, match=message):
        from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m")
    assert not (tmp_path / "in").exists()


def test_a_file_that_is_none_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match=r"cannot be read|no such file"):
        from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m")
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"ends after 0 sentences|cannot be read as HDF5"):
        from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m")
    path.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InputError, match=r"is not JSON|cannot be read as HDF5"):
        from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m")


def test_settings_are_checked_first(tmp_path, suffix):
    corpus = corpus_of(TEXT)
    path = by_hand(tmp_path / f"a{suffix}", TEXT, random_values(TEXT))
    with pytest.raises(SettingError, match="pickled ones run code"):
        from_neurox(tmp_path / "a.pt", corpus, tmp_path / "in", model="m")
    with pytest.raises(SettingError, match='Did you mean "float16"'):
        from_neurox(path, corpus, tmp_path / "in", model="m", dtype="flaot16")
    (tmp_path / "in").mkdir()
    from_neurox(path, corpus, tmp_path / "in", model="m")
    with pytest.raises(StoreError, match="in: is there already"):
        from_neurox(path, corpus, tmp_path / "in", model="m")


def test_a_value_too_large_for_the_dtype_names_the_store(tmp_path, suffix):
    values = random_values(TEXT)
    values[1][1, 2, 0] = 1e6
    path = by_hand(tmp_path / f"a{suffix}", TEXT, values)
    with pytest.raises(StoreError, match=r"hidden.1:0 is 1000000.0 at row 4, which float16") as e:
        from_neurox(path, corpus_of(TEXT), tmp_path / "in", model="m", dtype="float16")
    assert e.value.where == str(tmp_path / "in")


def test_layers_of_unequal_width_and_other_suffixes_are_refused(tmp_path):
    sites = [Site("hidden", 0, "a", "output", 2), Site("mlp", 1, "b", "output", 3)]
    corpus = corpus_of([["ok"]])
    store = write_store(
        tmp_path / "s", model="m", corpus="c", sites=sites, tokens=corpus.tokens,
        sentences=corpus.sentences, labels=[],
        blocks=[{"hidden.0": np.ones((1, 2)), "mlp.1": np.ones((1, 3))}],
    )  # fmt: skip
    with pytest.raises(StoreError, match=r"mlp.1 has 3 neurons and hidden.0 has 2"):
        to_neurox(store, tmp_path / "a.json")
    with pytest.raises(SettingError, match=r"\.json or \.hdf5, not \"\.h5\""):
        to_neurox(store, tmp_path / "a.h5")
    assert to_neurox(store, tmp_path / "a.json", ["mlp.1"]).is_file()


@pytest.mark.parametrize(
    ("token", "form", "how"),
    [
        ("He", "He", "equal"),
        ("he", "He", "spelled"),
        ("play##ing", "playing", "spelled"),
        ("Ġplaying", "playing", "spelled"),
        ("▁play▁ing", "playing", "spelled"),
        ("ĠZwÃ¶lf", "Zwölf", "spelled"),
        ("zwolf", "Zwölf", "spelled"),
        ("play@@ing</w>", "playing", "spelled"),
        ("▁<0xE2><0x82><0xAC>5", "€5", "spelled"),
        ("▁...", "…", "spelled"),
        ("strasse", "Straße", "spelled"),
        ("##", "##", "equal"),
        ("[UNK]", "☃", "unknown"),
        ("a##[UNK]##b", "a☃b", "unknown"),
        ("▁<unk>", "☃", "unknown"),
        ("a[UNK]", "b☃", None),
        ("played", "playing", None),
        ("play", "playing", None),
        ("Ã", "é", None),
    ],
)
def test_words_as_tokenizers_spell_them(token, form, how):
    assert match(token, form) == how


@given(st.text(), st.text())
def test_matching_never_fails(token, form):
    assert match(token, form) in ("equal", "spelled", "unknown", None)
    assert match(form, form) == "equal"


def test_the_count_of_a_repeated_sentence_is_set_aside():
    assert without_count("a b (Occurrence 12)") == "a b"
    assert without_count("a b (Occurrence x)") == "a b (Occurrence x)"


def test_memory_is_that_of_a_block(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="h5py is in the bridge extra")
    monkeypatch.setattr(neurox_in, "BLOCK_WORDS", 100)
    text = [[f"w{i}"] * 10 for i in range(200)]
    values = random_values(text, layers=4, width=1280)
    path = by_hand(tmp_path / "a.hdf5", text, values)
    corpus = corpus_of(text)
    whole = sum(array.nbytes for array in values)
    tracemalloc.start()
    got = from_neurox(path, corpus, tmp_path / "in", model="m")
    to_neurox(got, tmp_path / "out.hdf5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 3
