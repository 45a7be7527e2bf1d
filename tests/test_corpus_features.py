"""UniMorph from Universal Dependencies, treebanks in a folder, splits by lemma."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from languages_planted import write_treebank

from nissl.corpus import find_treebanks, lemma_split, read_corpus, unimorph_columns
from nissl.corpus._unimorph_table import EXCLUDED, FEATURES, UPOS
from nissl.corpus.features import DIMENSIONS, NO_VALUE, unimorph, why_not
from nissl.corpus.genera import LANGUAGES, language_of
from nissl.corpus.treebanks import choose_treebanks, read_treebank
from nissl.corpus.turkish_web import convert_turkish_web, ud_features, ud_pos
from nissl.data import treebank_folder
from nissl.errors import InputError, LabelError, SettingError
from nissl.kernels.group_split import group_split
from nissl.kernels.value_split import split_values

WORDS = [
    # language, form, UPOS, UD features, UniMorph
    ("en", "houses", "NOUN", "Number=Plur", {"POS": "N", "Number": "PL"}),
    ("en", "scissors", "NOUN", "Number=Ptan", {"POS": "N", "Number": "PL"}),
    ("de", "dem", "DET", "Case=Dat|Definite=Def|Gender=Masc|Number=Sing|PronType=Art",
     {"POS": "DET", "Case": "DAT", "Definiteness": "DEF", "Gender": "MASC", "Number": "SG"}),
    ("es", "cantaba", "VERB", "Mood=Ind|Number=Sing|Person=3|Tense=Imp|VerbForm=Fin",
     {"POS": "V", "Mood": "IND", "Number": "SG", "Person": "3", "Tense": "PST",
      "Aspect": "IPFV", "Finiteness": "FIN"}),
    ("es", "me", "PRON", "Case=Acc,Dat|Person=1", {"POS": "PRO", "Person": "1"}),
    ("fr", "chantée", "VERB", "Gender=Fem|Number=Sing|Tense=Past|VerbForm=Part|Voice=Pass",
     {"POS": "V.PTCP", "Gender": "FEM", "Number": "SG", "Tense": "PST", "Finiteness": "NFIN",
      "Voice": "PASS"}),
    ("tr", "evlerimizde", "NOUN", "Case=Loc|Number=Plur|Number[psor]=Plur|Person[psor]=1",
     {"POS": "N", "Case": "ESS", "Number": "PL", "Possession": "PSS1P"}),
    ("tr", "gelmişti", "VERB", "Aspect=Perf|Evident=Nfh|Polarity=Pos|Tense=Pqp",
     {"POS": "V", "Aspect": "PFV", "Evidentiality": "NFH", "Polarity": "POS", "Tense": "PST"}),
    ("fi", "talossa", "NOUN", "Case=Ine|Number=Sing", {"POS": "N", "Case": "IN+ESS",
                                                        "Number": "SG"}),
    ("fi", "lapsena", "NOUN", "Case=Ess", {"POS": "N", "Case": "FRML"}),
    ("ru", "кот", "NOUN", "Animacy=Anim|Case=Nom|Gender=Masc",
     {"POS": "N", "Animacy": "ANIM", "Case": "NOM", "Gender": "MASC"}),
    ("sv", "bilen", "NOUN", "Definite=Def|Gender=Com", {"POS": "N", "Definiteness": "DEF",
                                                        "Gender": "MASC+FEM"}),
    ("sw", "mtu", "NOUN", "NounClass=Bantu1", {"POS": "N", "Gender": "BANTU1"}),
    ("eu", "gizonak", "NOUN", "Case=Erg|Number=Plur", {"POS": "N", "Case": "ERG",
                                                       "Number": "PL"}),
    ("hi", "आप", "PRON", "Person=2|Polite=Form", {"POS": "PRO", "Person": "2",
                                                  "Politeness": "FORM"}),
    ("en", "larger", "ADJ", "Degree=Cmp", {"POS": "ADJ", "Comparison": "CMPR"}),
    ("en", "large", "ADJ", "Degree=Pos", {"POS": "ADJ"}),
    ("en", ",", "PUNCT", "_", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    lines = ["# sent_id = all"]
    for i, (_, form, upos, feats, _) in enumerate(WORDS, start=1):
        lines.append(f"{i}\t{form}\t{form}\t{upos}\t_\t{feats}\t{i - 1}\tdep\t_\t_")
    path = tmp_path_factory.mktemp("words") / "all.conllu"
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return unimorph_columns(read_corpus(path))


@pytest.mark.parametrize("i", range(len(WORDS)), ids=[f"{w[0]}-{w[3][:20]}" for w in WORDS])
def test_words_of_several_languages(words, i):
    row = words.tokens.row(i, named=True)
    got = {k[3:]: v for k, v in row.items() if k.startswith("um.") and v is not None}
    assert got == WORDS[i][4]


def test_what_has_no_tag_is_counted_with_the_reason(words):
    left = words.left_out
    assert left["UD Case=Acc,Dat (several values at once)"] == 1
    assert left["UD Degree=Pos (UniMorph does not mark the positive)"] == 1
    assert left["UD PronType (a class of words, not an inflection)"] == 1
    assert left["UD upos PUNCT (no class of words)"] == 1
    assert set(words.labels) >= {"um.Case", "um.POS"}
    assert "feats.Case" in words.labels


def test_every_value_of_a_treebank_is_mapped_or_excluded_by_a_reason(shared_data):
    folders = [treebank_folder()]
    if (shared_data / "ud-pud").is_dir():
        folders.append(shared_data / "ud-pud")
    seen: Counter[str] = Counter()
    for path in sorted(p for f in folders for p in Path(f).glob("*.conllu")):
        for line in path.read_text(encoding="utf-8").splitlines():
            cells = line.split("\t")
            if len(cells) == 10 and cells[5] != "_":
                seen.update(cells[5].split("|"))
            if len(cells) == 10 and cells[0].isdecimal():
                assert cells[3] in UPOS
    assert len(seen) > 30
    for item in seen:
        feature, _, value = item.partition("=")
        if feature in ("Person[psor]", "Number[psor]"):
            continue
        assert unimorph(feature, value) or why_not(feature, value) not in (None, NO_VALUE), item


def test_the_tables_are_sound():
    assert not set(FEATURES) & set(EXCLUDED)
    tags = {t for v in FEATURES.values() for p in v.values() if not isinstance(p, str) for t in p}
    assert {dimension for dimension, _ in tags} | {"POS", "Possession"} == set(DIMENSIONS)
    assert {
        "Animacy",
        "Aspect",
        "Case",
        "Definiteness",
        "Gender",
        "Mood",
        "Number",
        "Person",
    } < set(DIMENSIONS)
    assert all(tag == tag.upper() for _, tag in tags)
    assert unimorph("Number", "Sing,Plur") == ()
    assert unimorph("Case", "All,Lat") != ()
    assert why_not("Mood", "Xyz") == NO_VALUE
    assert why_not("Number[subj]", "Sing") == "agreement with another word"


def test_two_features_that_disagree(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(
        "1\ta\ta\tNOUN\t_\tGender=Fem|NounClass=Bantu2\t0\troot\t_\t_\n"
        "2\tb\tb\tNOUN\t_\tGender=Fem\t1\tdep\t_\t_\n\n"
    )
    got = unimorph_columns(read_corpus(path))
    assert got.tokens["um.Gender"].to_list() == [None, "FEM"]
    assert got.left_out["UniMorph Gender (two features disagree)"] == 1
    # The construct state is a mark of possession, and so is a possessor.
    both = "Definite=Cons|Number[psor]=Sing|Person[psor]=3"
    (tmp_path / "p.conllu").write_text(
        f"1\ta\ta\tNOUN\t_\t{both}\t0\troot\t_\t_\n"
        "2\tb\tb\tNOUN\t_\tDefinite=Cons\t1\tdep\t_\t_\n\n"
    )
    got = unimorph_columns(read_corpus(tmp_path / "p.conllu"))
    assert got.tokens["um.Possession"].to_list() == [None, "PSSD"]
    assert got.left_out["UniMorph Possession (two features disagree)"] == 1
    (tmp_path / "a.word").write_text("a b\n")
    (tmp_path / "a.label").write_text("X Y\n")
    bare = read_corpus(tmp_path / "a.word")
    with pytest.raises(LabelError, match="no features of Universal Dependencies"):
        unimorph_columns(bare)


def test_languages_and_genera():
    assert language_of("en").genus == language_of("de").genus == "Germanic"
    assert language_of("es").genus == language_of("fr").genus == "Romance"
    assert language_of("tr").genus == "Turkic"
    assert language_of("fi").family == "Uralic"
    assert language_of("zz").genus == ""
    assert language_of("zz").name == "zz"
    assert len(LANGUAGES) > 120
    assert all(x.genus and x.family and x.name[0].isupper() for x in LANGUAGES.values())


def test_treebanks_are_found_by_their_names(tmp_path):
    for code in ("en", "tr"):
        write_treebank(tmp_path, code, sentences=3)
    (tmp_path / "sub").mkdir()
    (tmp_path / "tr_toy-ud-test.conllu").rename(tmp_path / "sub/tr_toy-ud-train.conllu")
    write_treebank(tmp_path, "tr", sentences=2, seed=1)
    text = (tmp_path / "tr_toy-ud-test.conllu").read_text().replace("tr-", "x-")
    (tmp_path / "tr_toy-ud-test.conllu").write_text(text)
    (tmp_path / "tr_other-ud-dev.conllu").write_text(text)
    (tmp_path / "notes.conllu").write_text("ignored")
    found = find_treebanks(tmp_path)
    assert [t.id for t in found] == ["en_toy", "tr_other", "tr_toy"]
    assert found[2].splits == ("train", "test")
    assert found[2].language.name == "Turkish"
    assert set(choose_treebanks(found)) == {"en", "tr_other", "tr_toy"}
    assert set(choose_treebanks(found, ["English", "tr_toy"])) == {"en", "tr"}
    corpus = read_treebank(found[2])
    assert corpus.n_sentences == 5
    assert set(corpus.sentence_splits()) == {"train", "test"}
    with pytest.raises(SettingError, match="treebank en_toy is there twice"):
        choose_treebanks([*found, found[0]])
    with pytest.raises(SettingError, match='no treebank of "fr"'):
        choose_treebanks(found, ["fr"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no treebank: files are called"):
        find_treebanks(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        find_treebanks(tmp_path / "nowhere")
    (tmp_path / "sub/en_toy-ud-test.conllu").write_text(text)
    with pytest.raises(InputError, match="same split"):
        find_treebanks(tmp_path)


def test_no_lemma_is_on_two_sides(tmp_path):
    corpus = unimorph_columns(read_corpus(write_treebank(tmp_path, "en", sentences=60)))
    got = lemma_split(corpus, "um.Number", min_count=(50, 5, 5))
    assert got.values == ("PL", "SG")
    assert not got.reason
    assert not got.dropped
    table = got.corpus.tokens
    sides = {s: set(table.filter(table["split"] == s)["lemma"]) for s in ("train", "dev", "test")}
    assert all(sides.values())
    assert not (sides["train"] & sides["dev"]) | (sides["train"] & sides["test"])
    assert not sides["dev"] & sides["test"]
    shares = [(table["split"] == s).sum() / table.height for s in ("train", "dev", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    other = lemma_split(corpus, "um.Number", seed=1).corpus.tokens["split"]
    assert not other.equals(table["split"])


def test_values_that_fall_short_are_dropped_and_said():
    # "b" has two lemmas only, "c" two words only; "a" and "d" pass.
    values = np.array(["a"] * 100 + ["b"] * 100 + ["c"] * 2 + ["d"] * 60 + [None], dtype=object)
    keys = np.array(
        [f"a{i % 20}" for i in range(100)]
        + [f"b{i % 2}" for i in range(100)]
        + ["c0", "c1"]
        + [f"d{i % 10}" for i in range(60)]
        + ["e"],
        dtype=object,
    )
    part, dropped = split_values(values, keys, min_count=(20, 3, 3))
    assert set(dropped) == {"b", "c"}
    assert dropped["b"] == "100 words of 2 lemmas; needs 20/3/3"
    assert (part[100:202] == -1).all()
    assert part[-1] == -1
    for value, n in (("a", (20, 3, 3)), ("d", (20, 3, 3))):
        counts = np.bincount(part[values == value], minlength=3)
        assert (counts >= n).all()
    with pytest.raises(SettingError):
        split_values(values, keys, min_count=(1, 0, 1))


def test_group_split_serves_a_value_of_few_groups():
    # By lots of the groups alone, one of three groups in each part has a chance of about .08.
    values = np.repeat([0, 1], [300, 30])
    groups = np.concatenate([np.arange(300) % 60, 60 + np.repeat([0, 1, 2], [20, 7, 3])])
    served = 0
    for seed in range(20):
        part = group_split(values, groups, seed=seed)
        for group in range(63):
            assert len(set(part[groups == group])) == 1
        served += len(set(part[values == 1])) == 3
    assert served >= 15
    with pytest.raises(SettingError):
        group_split(values, groups, fractions=(0.5, 0.5, 0.0))


def test_a_category_that_cannot_be_split_says_why(tmp_path):
    corpus = unimorph_columns(read_corpus(write_treebank(tmp_path, "en", sentences=5)))
    got = lemma_split(corpus, "um.Number", min_count=(500, 5, 5))
    assert got.values == ()
    assert got.reason.startswith("no value is left (")
    assert sum(v for k, v in got.corpus.left_out.items() if k.startswith("um.Number")) == 30


def test_turkish_web_treebank(tmp_path):
    web = (
        "# sent_id = a\n# text = Müfredata gelmedim\n"
        "1\tMüfredata\tmüfredat\tNOUN\tNN\tPersonNumber=A3pl|Possessive=P1sg|Case=Dat|Proper=False"
        "\t2\tnarg\t_\t_\n"
        "2\tgelmedim\tgel\tVERB\tVB\tPolarity=Neg|TenseAspectMood=Past|PersonNumber=V1sg|"
        "Temporal=True|Proper=False\t0\troot\t_\t_\n"
    )
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("data/web.conllu", web)
        archive.writestr("data/wiki.conllu", web.replace("= a", "= b"))
    lost = convert_turkish_web(tmp_path / "w.whl", tmp_path / "ud")
    assert lost == {"Temporal=True": 2}
    found = find_treebanks(tmp_path / "ud")
    assert [t.id for t in found] == ["tr_web"]
    corpus = unimorph_columns(read_treebank(found[0]))
    assert corpus.n_sentences == 2
    first, second = (corpus.tokens.row(i, named=True) for i in (0, 1))
    assert (first["um.Number"], first["um.Possession"], first["um.Case"]) == ("PL", "PSS1S", "DAT")
    assert (second["um.Person"], second["um.Tense"], second["um.Polarity"]) == ("1", "PST", "NEG")
    assert ud_pos("NOUN", "NNP", True) == "PROPN"
    assert ud_pos("ADJ", "VJ", False) == "VERB"
    # Outer suffixes overrule, voices are joined; the noun's number stays beside the predicate's.
    assert ud_features("Derivation=Cau|Derivation=Pass", "VERB") == "Voice=CauPass"
    assert ud_features("PersonNumber=A3pl|PersonNumber=V3sg", "NOUN") == "Number=Plur|Person=3"
    with pytest.raises(InputError, match="not the wheel"):
        convert_turkish_web(tmp_path, tmp_path / "x")
