"""Readers: what the formats allow, what real files hold, and one clear sentence for bad input."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nissl.corpus import FORMATS, read_corpus
from nissl.errors import InputError, NisslError, SettingError

CONLLU = """\
# sent_id = a
# text = I don't know Ann's 10 000 files.
# genre = chat
1\tI\tI\tPRON\tPRP\tCase=Nom|Person=1\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\tVerbForm=Fin\t4\taux\t_\tCxn=x|SpaceAfter=No
3\tn't\tnot\tPART\tRB\tPolarity=Neg\t4\tadvmod\t_\t_
4\tknow\tknow\tVERB\tVB\tVerbForm=Inf\t0\troot\t_\tChunk=B-VP
4.1\tthe\tthe\tDET\tDT\t_\t_\t_\t5:det\t_
5-6\tAnn's\t_\t_\t_\t_\t_\t_\t_\t_
5\tAnn\tAnn\tPROPN\tNNP\t_\t8\tnmod:poss\t_\t_
6\t's\t's\tPART\tPOS\t_\t5\tcase\t_\t_
7\t10 000\t10000\tNUM\tCD\tNumType=Card\t8\tnummod\t_\t_
8\tfiles\tfile\tNOUN\tNNS\tNumber=Plur\t4\tobj\t_\tSpaceAfter=No
9\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

# sent_id = b
# genre = news
1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_
1\tzu\tzu\tADP\t_\tGender=Fem,Masc\t3\tcase\t_\t_
2\tdem\tder\tDET\t_\t_\t3\tdet\t_\t_
3\tHaus\tHaus\tNOUN\t_\t_\t0\troot\t_\tSpaceAfter=No
4\t_\t_\tSYM\t_\t_\t3\tpunct\t_\t_
"""


def write(folder, name, text):
    path = folder / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_bytes(text.encode())
    return path


def spans_hold_words(corpus, *, inexact=0):
    """Every word is the text of its span, but for ``inexact`` words of fused ranges."""
    odd = 0
    for sentence in corpus:
        last = 0
        for word, (a, b) in zip(sentence.words, sentence.offsets, strict=True):
            assert 0 <= a < b <= len(sentence.text)
            assert a >= last or sentence.text[a:b] != word
            odd += sentence.text[a:b] != word
            last = a
    assert odd == inexact


# CoNLL-U ----------------------------------------------------------------------------------------


def test_conllu(tmp_path):
    corpus = read_corpus(write(tmp_path, "x.conllu", CONLLU))
    assert corpus.sentences["id"].to_list() == ["a", "b"]
    first, second = corpus
    assert first.words == ("I", "do", "n't", "know", "Ann", "'s", "10 000", "files", ".")
    assert [first.text[a:b] for a, b in first.offsets] == list(first.words)
    assert first.where == f"{tmp_path}/x.conllu:1"
    # No text comment: made of forms and SpaceAfter. Words that the fused form hides share it.
    assert second.text == "zum Haus_"
    assert [second.text[a:b] for a, b in second.offsets] == ["zu", "zum", "Haus", "_"]
    assert second.where.endswith(":17")
    assert corpus.left_out == {"empty nodes": 1, "multiword ranges (their words are kept)": 3}
    tokens = corpus.tokens
    assert tokens["upos"].to_list()[:3] == ["PRON", "AUX", "PART"]
    assert tokens["xpos"].to_list()[9:] == [None] * 4
    assert tokens["head"].to_list() == [4, 4, 4, 0, 8, 5, 8, 4, 4, 3, 3, 0, 3]
    assert tokens["feats.Case"].to_list() == ["Nom", *[None] * 12]
    assert tokens["feats.Gender"].to_list()[9] == "Fem,Masc"
    assert tokens["chunk"].to_list()[3] == "B-VP"
    assert tokens["misc.Cxn"].to_list()[1] == "x"
    assert tokens["form"].to_list()[12] == "_"
    assert corpus.sentences["genre"].to_list() == ["chat", "news"]
    assert "lemma" not in corpus.labels
    assert {"upos", "xpos", "deprel", "feats.Case", "chunk"} <= set(corpus.labels)
    assert not any("SpaceAfter" in name for name in tokens.columns)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("\n", "\r\n").encode(),
        lambda t: b"\xef\xbb\xbf" + t.encode(),
        lambda t: t.rstrip("\n").encode(),
        lambda t: ("\n\n" + t.replace("\n\n", "\n \t\n\n") + "\n\n\n").encode(),
    ],
    ids=["crlf", "bom", "no-final-newline", "blank-lines"],
)
def test_conllu_line_ends(tmp_path, change):
    want = read_corpus(write(tmp_path, "x.conllu", CONLLU))
    got = read_corpus(write(tmp_path, "y.conllu", change(CONLLU)), name=want.name)
    assert got.tokens.equals(want.tokens)
    assert got.sentences.drop("where").equals(want.sentences.drop("where"))
    assert got.fingerprint == want.fingerprint


ROW = "1\tA\ta\tX\t_\t_\t0\troot\t_\t_\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1\tA\ta\n", 1, "3 columns where CoNLL-U has 10"),
        (ROW + "\n" + ROW.replace("\t", " "), 3, "1 columns where CoNLL-U has 10"),
        ("# c\n" + ROW.replace("1", "2", 1), 2, "word id 2 follows 0"),
        (ROW + ROW.replace("1", "x", 1), 2, '"x" is not a word id'),
        (ROW.replace("\t0\t", "\t7\t"), 1, 'head "7" is not a word of the sentence'),
        (ROW.replace("\t0\t", "\tup\t"), 1, 'head "up" is not a word'),
        ("1-3\tAB\t_\t_\t_\t_\t_\t_\t_\t_\n" + ROW, 1, "ends at word 3 but the sentence has 1"),
        ("3-2\tAB\t_\t_\t_\t_\t_\t_\t_\t_\n" + ROW, 1, "multiword range 3-2"),
        (ROW.replace("A", ""), 1, "the form is empty"),
        ("# text = B\n" + ROW, 1, 'word "A" is not where the "# text" comment says'),
        (
            "# sent_id = s\n" + ROW + "\n# sent_id = s\n" + ROW,
            4,
            'sentence id "s" was used before at',
        ),
        ("# only = this\n\n" + ROW, 1, "comments but no word"),
        ("0.1\tA\ta\tX\t_\t_\t_\t_\t_\t_\n", 1, "the sentence has no word"),
        (ROW.replace("\tX\t_\t_", "\tX\t_\tCase"), 1, "not CoNLL-U"),
    ],
)
def test_conllu_errors(tmp_path, text, line, message):
    path = write(tmp_path, "x.conllu", text)
    with pytest.raises(InputError, match=message) as caught:
        read_corpus(path)
    assert caught.value.where == f"{path}:{line}"
    assert "\n" not in str(caught.value)


@given(
    st.lists(
        st.lists(
            st.text(st.characters(categories=["L", "M", "S", "P"]), min_size=1, max_size=5),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
def test_conllu_spans_of_any_words(tmp_path_factory, sentences, data):
    lines, words = [], []
    for sentence in sentences:
        for i, form in enumerate(sentence, start=1):
            misc = "SpaceAfter=No" if data.draw(st.booleans()) else "_"
            lines.append(f"{i}\t{form}\tl\tX\t_\t_\t{i - 1}\td\t_\t{misc}")
            words.append(form)
        lines.append("")
    path = write(tmp_path_factory.mktemp("c"), "x.conllu", "\n".join(lines))
    corpus = read_corpus(path)
    assert corpus.tokens["form"].to_list() == words
    spans_hold_words(corpus)


# Column files -----------------------------------------------------------------------------------


def test_blank_separated_columns(tmp_path):
    text = "-DOCSTART- -X- O\n\nHe PRP B-NP\npaid VBD B-VP\n# # B-NP\n5 CD I-NP\n\n"
    text += "# # B-NP\n3 CD I-NP\n"
    corpus = read_corpus(write(tmp_path, "x.conll", text), columns=("form", "pos", "chunk"))
    assert [s.text for s in corpus] == ["He paid # 5", "# 3"]
    assert corpus.tokens["pos"].to_list() == ["PRP", "VBD", "#", "CD", "#", "CD"]
    assert [s.where[-2:] for s in corpus] == [":3", ":8"]
    assert corpus.left_out == {"document lines (-DOCSTART-)": 1}
    assert corpus.labels == ("pos", "chunk")


PMB = """\
### made by a script
# newdoc id = p1
# a:b\ta:b\ta:b\ta:b\ta:b\ta:b\ta:b
# raw sent = Charles de Gaulle isn't #1.
Charles~de~Gaulle\tx\tcharles~de~gaulle\tPER\tn\tO\t[]
is\tx\tbe\tNOW\ts\tO\t[]
n't\tx\tnot\tNOT\ts\tO\t[]
#1\tx\t1\tQUC\tn\tO\t[]
.\tx\t.\tNIL\t.\tO\t[]

# raw sent = Other words
~\tx\t~\tNIL\tn\tO\t[]
"""


def test_parallel_meaning_bank(tmp_path):
    corpus = read_corpus(write(tmp_path, "x.conll", PMB), format="pmb")
    first, second = corpus
    assert first.text == "Charles de Gaulle isn't #1."
    assert [first.text[a:b] for a, b in first.offsets] == [
        "Charles de Gaulle",
        "is",
        "n't",
        "#1",
        ".",
    ]
    assert corpus.labels == ("semtag", "ccg", "sense", "roles")
    assert corpus.tokens["lemma"][0] == "charles de gaulle"
    assert second.text == "~"
    assert corpus.left_out == {
        "texts unlike their words (the words are joined by blanks instead)": 1
    }
    assert first.where.endswith(":5")


def test_column_options(tmp_path):
    path = write(tmp_path, "x.col", "a;X;0;l\nb;NA;1;m\n")
    options = {"columns": ("form", "tag", "_", "lemma"), "separator": ";", "missing": ("NA",)}
    corpus = read_corpus(path, split="dev", **options)
    assert corpus.tokens["tag"].to_list() == ["X", None]
    assert corpus.tokens["lemma"].to_list() == ["l", "m"]
    assert corpus.labels == ("tag",)
    assert set(corpus.tokens["split"]) == {"dev"}


def test_comment_only_where_there_are_comments(tmp_path):
    text = "# id = 5\n# a note of several words\n#tag NN\nx NN\n"
    path = write(tmp_path, "x.conll", text)
    corpus = read_corpus(path, columns=("form", "pos"))
    assert corpus.tokens["form"].to_list() == ["#tag", "x"]
    with pytest.raises(InputError, match=":1: 4 columns where 2"):
        read_corpus(path, columns=("form", "pos"), comment=None)


@pytest.mark.parametrize(
    ("text", "options", "where", "message"),
    [
        ("a B C\nb B\n", {}, ":2", r"2 columns where 3 are expected \(form, pos, chunk\)"),
        ("a\tB\tC\n\tB\tC\n", {}, ":2", "the form is empty"),
        ("a B\n", {"columns": ("pos", "chunk")}, None, 'one of the columns must be called "form"'),
        ("a B\n", {"columns": ("form", "x", "x")}, None, "a column name is given twice"),
        ("", {}, None, "x.conll has no sentence"),
        ("\n \n", {}, None, "x.conll has no sentence"),
    ],
)
def test_column_errors(tmp_path, text, options, where, message):
    path = write(tmp_path, "x.conll", text)
    with pytest.raises(NisslError, match=message) as caught:
        read_corpus(path, **options)
    assert caught.value.where == (f"{path}{where}" if where else None)


# Parallel files, JSON Lines ---------------------------------------------------------------------


def test_pairs(tmp_path):
    write(tmp_path, "train.word", "The cat\nRain !\n")
    write(tmp_path, "train.label", "D N\nN P\n")
    write(tmp_path, "train.case", "up low\nup -\n")
    corpus = read_corpus(tmp_path / "train.word")
    assert corpus.labels == ("label",)
    assert corpus.tokens["label"].to_list() == ["D", "N", "N", "P"]
    assert corpus.tokens["split"].to_list() == ["train"] * 4
    spans_hold_words(corpus)
    files = {"pos": tmp_path / "train.label", "case": tmp_path / "train.case"}
    assert read_corpus(tmp_path / "train.word", labels=files).labels == ("pos", "case")


@pytest.mark.parametrize(
    ("words", "labels", "where", "message"),
    [
        ("a b\nc\n", "X Y\nZ Z\n", "x.label:2", "2 labels for 1 words"),
        ("a b\nc\n", "X Y\n", "x.label", "1 lines, but .*x.word has 2"),
        ("a b\n\nc\n", "X Y\n\nZ\n", "x.word:2", "the sentence has no word; remove the line"),
        ("a\n", None, "x.label", "no such file"),
    ],
)
def test_pairs_errors(tmp_path, words, labels, where, message):
    write(tmp_path, "x.word", words)
    if labels is not None:
        write(tmp_path, "x.label", labels)
    with pytest.raises(InputError, match=message) as caught:
        read_corpus(tmp_path / "x.word")
    assert caught.value.where == f"{tmp_path}/{where}"


def test_jsonl(tmp_path):
    rows = [
        {"tokens": ["A", "b"], "labels": {"pos": ["D", None]}, "id": "s1", "split": "validation"},
        {"tokens": ["c", "."], "labels": {"n": [1, 2]}, "text": "c."},
    ]
    path = write(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    corpus = read_corpus(path)
    assert corpus.sentences["id"].to_list() == ["s1", "x.jsonl-2"]
    assert corpus.tokens["pos"].to_list() == ["D", None, None, None]
    assert corpus.tokens["n"].to_list() == [None, None, "1", "2"]
    assert corpus.tokens["split"].to_list() == ["dev", "dev", None, None]
    assert [s.text for s in corpus] == ["A b", "c."]
    spans_hold_words(corpus)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", 'needs "tokens"'),
        ('{"tokens": "a b"}', 'needs "tokens", a list of strings'),
        ('{"tokens": [1]}', 'needs "tokens", a list of strings'),
        ('{"tokens": []}', "the sentence has no word"),
        ('{"tokens": ["a", " "]}', "word 2 is empty"),
        ('{"tokens": ["a"], "labels": []}', '"labels" must be an object'),
        ('{"tokens": ["a"], "labels": {"p": ["X", "Y"]}}', 'label "p" has 2 values for 1 words'),
        ('{"tokens": ["a"], "labels": {"p": "X"}}', 'label "p" has no values for 1 words'),
        ('{"tokens": ["a"], "text": "b"}', 'not found in "text"'),
        ('{"tokens": ["a"], "split": "tset"}', 'split "tset" is none of train, dev, test'),
        ('{"tokens": ["a"], "id": "one"}', 'sentence id "one" was used before at .*x.jsonl:1'),
        ('{"tokens": ["\\ud83d"]}', "half of one"),
    ],
)
def test_jsonl_errors(tmp_path, line, message):
    path = write(tmp_path, "x.jsonl", '{"tokens": ["ok"], "id": "one"}\n' + line + "\n")
    with pytest.raises(InputError, match=message) as caught:
        read_corpus(path)
    assert caught.value.where == f"{path}:2"


# Tables -----------------------------------------------------------------------------------------

COLUMNS = {"tokens": [["A", "b"], ["c"]], "pos": [["D", None], ["N"]], "year": [1, 2]}


def as_pandas():
    return pytest.importorskip("pandas").DataFrame(COLUMNS)


def as_arrow():
    return pytest.importorskip("pyarrow").table(COLUMNS)


def as_datasets():
    datasets = pytest.importorskip("datasets")
    names = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "pos": datasets.List(datasets.ClassLabel(names=["D", "N"])),
            "year": datasets.Value("int32"),
        }
    )
    return datasets.Dataset.from_dict({**COLUMNS, "pos": [[0, -1], [1]]}, features=names)


@pytest.mark.parametrize(
    "make", [lambda: pl.DataFrame(COLUMNS), lambda: COLUMNS, as_pandas, as_arrow, as_datasets]
)
def test_tables_of_sentences(make):
    corpus = read_corpus(make(), split="test", name="t")
    assert corpus.labels == ("pos",)
    assert corpus.tokens["form"].to_list() == ["A", "b", "c"]
    assert corpus.tokens["pos"].to_list() == ["D", None, "N"]
    assert set(corpus.tokens["split"]) == {"test"}
    assert [s.where for s in corpus] == ["t:1", "t:2"]


def test_tables_of_words():
    frame = {"word": ["A", "b", "c"], "sent": [7, 7, 9], "pos": ["D", None, "N"]}
    want = [("7", "A b"), ("9", "c")]
    tables = [pl.DataFrame(frame), pytest.importorskip("pandas").DataFrame(frame)]
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "word": datasets.Value("string"),
            "sent": datasets.Value("int32"),
            "pos": datasets.ClassLabel(names=["D", "N"]),
        }
    )
    coded = {**frame, "pos": [0, -1, 1]}
    for table in [*tables, datasets.Dataset.from_dict(coded, features=features)]:
        corpus = read_corpus(table, form="word", sentence="sent")
        assert [(s.id, s.text) for s in corpus] == want
        assert corpus.labels == ("pos",)
        assert corpus.tokens["pos"].to_list() == ["D", None, "N"]


def test_splits_of_tables():
    one = pl.DataFrame(COLUMNS)
    corpus = read_corpus({"train": one, "validation": one, "test": one})
    assert corpus.has_splits
    assert corpus.sentence_splits().tolist() == ["train"] * 2 + ["dev"] * 2 + ["test"] * 2
    datasets = pytest.importorskip("datasets")
    both = datasets.DatasetDict({"train": as_datasets(), "validation": as_datasets()})
    assert read_corpus(both).sentence_splits().tolist() == ["train"] * 2 + ["dev"] * 2
    with pytest.raises(
        SettingError, match=r'split "vaildation" is none of.*Did you mean "validation"'
    ):
        read_corpus({"vaildation": one})


def test_parquet(tmp_path):
    pl.DataFrame(COLUMNS).write_parquet(tmp_path / "my-dev.parquet")
    corpus = read_corpus(tmp_path / "my-dev.parquet")
    assert corpus.name == "my-dev.parquet"
    assert set(corpus.tokens["split"]) == {"dev"}
    assert corpus.tokens["pos"].to_list() == ["D", None, "N"]
    write(tmp_path, "no.parquet", "not parquet")
    with pytest.raises(InputError, match=r"no.parquet: cannot be read as Parquet") as caught:
        read_corpus(tmp_path / "no.parquet")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r'no such file. Did you mean "my-dev.parquet"'):
        read_corpus(tmp_path / "my-dve.parquet")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (COLUMNS, {"form": "token"}, 't: no column "token".*Did you mean "tokens"'),
        (COLUMNS, {"labels": ["poss"]}, 't: no column "poss".*Did you mean "pos"'),
        (COLUMNS, {"labels": ["year"]}, '"year" must hold one list of labels a row'),
        (COLUMNS, {"form": "year"}, "must hold lists of words"),
        (COLUMNS, {"sentence": "sent"}, 'no column "sent"'),
        (
            {"tokens": [["a"], ["b"]], "p": [["X"], ["Y", "Z"]]},
            {},
            't:2: "p" has 2 values for 1 words',
        ),
        ({"tokens": [["a"], ["b"]], "p": [["X"], None]}, {}, 't:2: "p" has no values for 1 words'),
        ({"tokens": [["a"], []]}, {}, "t:2: the sentence has no word"),
        ({"tokens": [["a", None]]}, {}, "t:1: a word is missing"),
        ({"tokens": [["a"], ["b"]], "p": [["X"]]}, {}, "not a table"),
        (
            pl.DataFrame({"tokens": []}, schema={"tokens": pl.List(pl.String)}),
            {},
            "t has no sentence",
        ),
    ],
)
def test_table_errors(table, options, message):
    with pytest.raises(InputError, match=message) as caught:
        read_corpus(table, name="t", **options)
    assert "\n" not in str(caught.value)


def test_no_table():
    with pytest.raises(SettingError, match=r"cannot read a builtins.int"):
        read_corpus(5)
    with pytest.raises(SettingError, match="leave format out"):
        read_corpus(pl.DataFrame(COLUMNS), format="conllu")
    with pytest.raises(SettingError, match='a table in memory has no option "colums"'):
        read_corpus(pl.DataFrame(COLUMNS), colums=["x"])


# Plain text -------------------------------------------------------------------------------------


def test_plain_text(tmp_path):
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
    found = [name for name in spacy.util.get_installed_models() if name.startswith("en")]
    if not found:
        pytest.skip("no English spaCy pipeline is installed")
    text = "She reads books. He doesn't.\n\nDogs  bark!\n"
    corpus = read_corpus(write(tmp_path, "x.txt", text), tagger=found[0])
    assert [s.text for s in corpus] == ["She reads books.", "He doesn't.", "Dogs  bark!"]
    assert [s.where[-2:] for s in corpus] == [":1", ":1", ":3"]
    spans_hold_words(corpus)
    assert corpus.tokens["upos"].to_list()[:4] == ["PRON", "VERB", "NOUN", "PUNCT"]
    assert corpus.left_out == {"blank lines": 1}
    assert "lemma" not in corpus.labels


def test_plain_text_without_pipeline(tmp_path, monkeypatch):
    path = write(tmp_path, "x.txt", "Words.\n")
    pytest.importorskip("spacy", reason="spaCy is not installed")
    with pytest.raises(SettingError, match='spaCy pipeline "xx_none" is not installed'):
        read_corpus(path, tagger="xx_none")
    import sys

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(SettingError, match="plain text needs a tagger"):
        read_corpus(path)


# The door ---------------------------------------------------------------------------------------


def test_folders_lists_and_splits(tmp_path):
    for side in ("train", "dev", "test"):
        write(tmp_path, f"en-{side}.conllu", f"# sent_id = {side}\n" + ROW)
    write(tmp_path, "README.md", "x")
    corpus = read_corpus(tmp_path)
    assert corpus.has_splits
    assert corpus.sentence_splits().tolist() == ["train", "dev", "test"]
    assert corpus.name == tmp_path.name
    files = {"dev": tmp_path / "en-train.conllu", "test": tmp_path / "en-test.conllu"}
    assert read_corpus(files).sentence_splits().tolist() == ["dev", "test"]
    assert read_corpus([*files.values()]).sentence_splits().tolist() == ["train", "test"]
    with pytest.raises(SettingError, match='split "valid" is none of train, dev, test'):
        read_corpus({"valid": tmp_path / "en-dev.conllu"})
    with pytest.raises(InputError, match=r'id "train" is used twice') as caught:
        read_corpus([tmp_path / "en-dev.conllu", *[tmp_path / "en-train.conllu"] * 2])
    assert caught.value.where == f"{tmp_path}/en-train.conllu:1"
    write(tmp_path, "my_train.conllu", ROW)
    with pytest.raises(InputError, match=r"en-train.conllu and my_train.conllu are both train"):
        read_corpus(tmp_path)


def test_zip_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("deep/er/test.conllu", ROW)
        archive.writestr("deep/other.conllu", ROW)
    for member in ("deep/er/test.conllu", "test.conllu"):
        corpus = read_corpus(f"{tmp_path}/a.zip!{member}")
        assert (corpus.n_tokens, set(corpus.tokens["split"])) == (1, {"test"})
    with pytest.raises(InputError, match=r'a.zip: no member "tset.conllu"; there are deep'):
        read_corpus(f"{tmp_path}/a.zip!tset.conllu")
    write(tmp_path, "b.zip", "no")
    with pytest.raises(InputError, match=r"b.zip: is not a zip archive"):
        read_corpus(f"{tmp_path}/b.zip!x.conllu")
    with pytest.raises(InputError, match=r'c.zip: no such file. Did you mean "[ab].zip"'):
        read_corpus(f"{tmp_path}/c.zip!x.conllu")


def test_exclamation_mark_in_a_name(tmp_path):
    assert read_corpus(write(tmp_path, "wow!.conllu", ROW)).name == "wow!.conllu"


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "en-tran.conllu",
            {},
            InputError,
            'en-tran.conllu: no such file. Did you mean "en-train.conllu"',
        ),
        ("folde", {}, InputError, 'no such file. Did you mean "folder"'),
        ("x.weird", {}, SettingError, 'cannot tell the format of "x.weird" from its suffix'),
        (
            "en-train.conllu",
            {"format": "conlu"},
            SettingError,
            'no format "conlu".*Did you mean "conllu"',
        ),
        ("en-train.conllu", {"colums": 1}, SettingError, 'format conllu has no option "colums"'),
        (
            "en-train.conllu",
            {"split": "trian"},
            SettingError,
            'split "trian".*Did you mean "train"',
        ),
        ("folder", {}, InputError, "no file whose name says train, dev or test"),
        ("folder.conllu", {"format": "jsonl"}, InputError, "no file whose name says"),
        ("bytes.conllu", {}, InputError, r"bytes.conllu:2: byte 5 \(0xff\) is not UTF-8"),
        ("empty.conllu", {}, InputError, "empty.conllu has no sentence"),
    ],
)
def test_bad_sources(tmp_path, name, options, error, message):
    write(tmp_path, "en-train.conllu", ROW)
    write(tmp_path, "x.weird", ROW)
    write(tmp_path, "bytes.conllu", b"# ok\n\xff\n")
    write(tmp_path, "empty.conllu", "")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.conllu").mkdir()
    with pytest.raises(error, match=message) as caught:
        read_corpus(tmp_path / name, **options)
    assert "\n" not in str(caught.value)


def test_every_format_has_a_test():
    assert set(FORMATS) == {"conllu", "columns", "pmb", "pairs", "jsonl", "parquet", "text"}


# Real corpora -----------------------------------------------------------------------------------


def test_ewt_whole(shared_data):
    folder = shared_data / "ud-english-ewt"
    if not folder.is_dir():
        pytest.skip("no ud-english-ewt among the real corpora")
    corpus = read_corpus(folder)
    sizes = corpus.tokens.group_by("split").len().sort("split").rows()
    assert dict(sizes)["train"] == 204_577
    counts = np.unique(corpus.sentence_splits().astype(str), return_counts=True)
    assert dict(zip(*map(list, counts), strict=True)) == {
        "train": 12_544,
        "dev": 2_001,
        "test": 2_077,
    }
    assert corpus.label("upos").n_unique() == 17
    assert corpus.label("xpos").null_count() == 0
    # Words written as the text has them, but for those that goeswith or typos fuse.
    bad = sum(
        s.text[a:b] != w for s in corpus for w, (a, b) in zip(s.words, s.offsets, strict=True)
    )
    assert bad / corpus.n_tokens < 0.001
    plain = (folder / "en_ewt-ud-dev.conllu").read_text(encoding="utf-8").split("\n")
    forms = [line.split("\t")[1] for line in plain if line.partition("\t")[0].isdigit()]
    assert corpus.tokens.filter(pl.col("split") == "dev")["form"].to_list() == forms


def test_conll2000(shared_data):
    archive = shared_data / "conll2000" / "conll2000.zip"
    if not archive.is_file():
        pytest.skip("no conll2000 among the real corpora")
    files = {side: f"{archive}!conll2000/{side}.txt" for side in ("train", "test")}
    corpus = read_corpus(files, format="columns", columns=("form", "pos", "chunk"))
    sizes = dict(corpus.tokens.group_by("split").len().rows())
    assert sizes == {"train": 211_727, "test": 47_377}  # its README's numbers
    assert corpus.n_sentences == 8_936 + 2_012
    assert corpus.label("chunk").n_unique() == 23
    # A sentence that begins with the pound sign: "# # B-NP" is a word, not a comment.
    starts = corpus.tokens.filter(pl.col("position") == 0)
    assert "#" in starts["form"].to_list()
    spans_hold_words(corpus)


@pytest.mark.parametrize(
    ("name", "sentences", "words", "joined"),
    [("en-train", 7_745, 50_408, 6), ("de-train", 1_741, 10_126, None)],
)
def test_parallel_meaning_bank_whole(shared_data, name, sentences, words, joined):
    path = shared_data / "pmb-4.0" / f"{name}.conll"
    if not path.is_file():
        pytest.skip("no pmb-4.0 among the real corpora")
    corpus = read_corpus(path, format="pmb")
    assert (corpus.n_sentences, corpus.n_tokens) == (sentences, words)
    if joined is not None:
        assert corpus.label("semtag").n_unique() == 69
        assert corpus.label("ccg").n_unique() == 294
        assert list(corpus.left_out.values()) == [joined]
    assert not corpus.tokens["form"].str.contains("~.").any()
    spans_hold_words(corpus)


@pytest.mark.parametrize("language", ["en", "de", "tr", "es", "fr"])
def test_pud(shared_data, language):
    path = shared_data / "ud-pud" / f"{language}_pud-ud-test.conllu"
    if not path.is_file():
        pytest.skip("no ud-pud among the real corpora")
    corpus = read_corpus(path)
    assert corpus.n_sentences == 1_000
    assert {s.text for s in corpus} == {
        line.removeprefix("# text = ").strip()
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.startswith("# text = ")
    }
