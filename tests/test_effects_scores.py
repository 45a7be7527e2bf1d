"""Effects are right: each against a plain loop over single sentences and the library's own loss."""

from __future__ import annotations

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
import tiny_models as tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

from nissl.effects import _score as scoring
from nissl.effects import (
    class_accuracy,
    divergence,
    generate,
    hidden_words,
    loss_effect,
    make_pairs,
    pair_effect,
    perplexity,
    read_suite,
    readout,
    side_by_side,
    start_token,
    suite_effect,
    word_effect,
)
from nissl.effects._encode import encode
from nissl.errors import InputError, LabelError, ModelError, SettingError
from nissl.model import LoadedModel, capture, find_sites, load_model, load_spec, run
from nissl.model.edit import Edit, edited

BUILDERS = {
    "causal-lm": transformers.AutoModelForCausalLM,
    "masked-lm": transformers.AutoModelForMaskedLM,
    "classification": transformers.AutoModelForSequenceClassification,
}
TEXTS = tiny.SENTENCES


@functools.cache
def folder(kind: str, head: str):
    """A tiny model with a head, whose weights are all in the file."""
    out = tiny.BASE / f"{kind}-{head}"
    config = transformers.AutoConfig.from_pretrained(tiny.folder(kind))
    config.num_labels = 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = BUILDERS[head].from_config(config)
        for value in model.parameters():
            value.data += 0.3 * torch.randn_like(value)
    model.save_pretrained(out)
    words = tiny.tokenizer(kind)
    if head == "masked-lm":
        words.mask_token = "[MASK]" if "[MASK]" in words.get_vocab() else "[UNK]"
    words.save_pretrained(out)
    return out


@functools.cache
def model_of(kind: str, head: str, device: str = "cpu") -> LoadedModel:
    return load_model(folder(kind, head), head=head, device=device)


def with_start(model: LoadedModel, text: str) -> list[int]:
    ids = model.tokenizer(text)["input_ids"]
    start = model.tokenizer.bos_token_id
    return ids if start is None or ids[0] == start else [start, *ids]


# Loading with a head ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("gpt2", "causal-lm"),
        ("llama", "causal-lm"),
        ("bert", "masked-lm"),
        ("distilbert", "classification"),
        ("gpt2", "classification"),
        ("llama", "classification"),
    ],
)
def test_sites_have_the_same_names_with_a_head(kind, head):
    model = model_of(kind, head)
    kinds = ["hidden", "mlp", "head"]
    plain = find_sites(tiny.loaded(kind), kinds)
    assert [(s.name, s.width) for s in find_sites(model, kinds)] == [
        (s.name, s.width) for s in plain
    ]
    assert model.head == head
    assert model.spec is not None
    assert model.spec.head == head
    again = load_spec(model.spec)
    assert again.fingerprint == model.fingerprint
    assert again.head == head


def test_the_head_is_part_of_the_identity():
    assert load_model(folder("gpt2", "causal-lm")).fingerprint != (
        model_of("gpt2", "causal-lm").fingerprint
    )


def test_a_missing_head_is_an_error(tmp_path):
    for kind, head in (("llama", "causal-lm"), ("bert", "masked-lm"), ("bert", "classification")):
        with pytest.raises(ModelError, match=f"{head} head depends"):
            load_model(tiny.folder(kind), head=head)
    with pytest.raises(SettingError, match='Did you mean "causal-lm"'):
        load_model(tiny.folder("gpt2"), head="causal-ml")
    # A weight inside counts as well, and pickled weights are refused as ever.
    copy = tmp_path / "model"
    copy.mkdir()
    for each in folder("bert", "classification").iterdir():
        (copy / each.name).write_bytes(each.read_bytes())
    weights = load_file(copy / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"output\.dense\.weight"):
        load_model(copy, head="classification")


def test_an_effect_says_which_head_it_needs():
    with pytest.raises(ModelError, match="--head causal-lm"):
        loss_effect(TEXTS).measure(tiny.loaded("gpt2"))
    with pytest.raises(ModelError, match="masked-lm"):
        hidden_words(TEXTS).measure(model_of("gpt2", "causal-lm"))


# Causal models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("tokens", [16, 4096])
def test_loss_is_the_librarys_own(kind, tokens, monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_TOKENS", tokens)
    model = model_of(kind, "causal-lm")
    effect = loss_effect(TEXTS)
    want = []
    for text in TEXTS:
        ids = torch.tensor([with_start(model, text)])
        with torch.inference_mode():
            want.append(float(model.model(input_ids=ids, labels=ids).loss))
    np.testing.assert_allclose(effect.measure(model), want, rtol=2e-5)
    counts = [len(with_start(model, text)) - 1 for text in TEXTS]
    np.testing.assert_array_equal(effect.weights(model), counts)
    assert perplexity(effect, model) == pytest.approx(
        math.exp(np.average(want, weights=counts)), rel=1e-4
    )


def test_the_start_token_is_chosen_and_can_be():
    model = model_of("gpt2", "causal-lm")
    assert start_token(model) is None  # this tokenizer has neither of the tokens that are tried
    for start in ("none", "[SEP]"):
        chosen = dataclasses.replace(model, start=start)
        lead = [] if start == "none" else [model.tokenizer.get_vocab()[start]]
        for text in TEXTS[:2]:
            ids = torch.tensor([[*lead, *model.tokenizer(text)["input_ids"]]])
            with torch.inference_mode():
                want = float(model.model(input_ids=ids, labels=ids).loss)
            assert loss_effect([text]).measure(chosen)[0] == pytest.approx(want, rel=2e-5)
    with pytest.raises(SettingError, match='start token "x y"'):
        loss_effect(TEXTS).measure(dataclasses.replace(model, start="x y"))
    # Llama's tokenizer puts [CLS] there by itself; asked for another, that one stands alone.
    llama = dataclasses.replace(model_of("llama", "causal-lm"), start="none")
    ids = torch.tensor([model_of("llama", "causal-lm").tokenizer(TEXTS[0])["input_ids"][1:]])
    with torch.inference_mode():
        want = float(llama.model(input_ids=ids, labels=ids).loss)
    assert loss_effect(TEXTS[:1]).measure(llama)[0] == pytest.approx(want, rel=2e-5)
    words = tiny.tokenizer("gpt2")
    words.add_special_tokens({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})
    chat = dataclasses.replace(model, tokenizer=words)
    assert start_token(chat) == words.bos_token_id
    words.add_special_tokens({"unk_token": "<|endoftext|>"})
    assert start_token(chat) == words.unk_token_id


def loop(model: LoadedModel, prefix: str, word: str) -> float:
    """log p(word | prefix), one subword after the other."""
    whole, lead = with_start(model, f"{prefix} {word}"), with_start(model, prefix)
    assert whole[: len(lead)] == lead
    total = 0.0
    for i in range(len(lead), len(whole)):
        with torch.inference_mode():
            logits = model.model(input_ids=torch.tensor([whole[:i]])).logits[0, -1]
        total += float(logits.double().log_softmax(0)[whole[i]])
    return total


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_next_words_of_any_number_of_subwords(kind):
    model = model_of(kind, "causal-lm")
    prefixes = ["The cat", "Dogs and birds", "The cat", "She reads"]
    words = ["sat", "misunderstanding", "bark", "books"]
    want = [loop(model, p, w) for p, w in zip(prefixes, words, strict=True)]
    effect = word_effect(prefixes, words)
    np.testing.assert_allclose(effect.measure(model), want, rtol=2e-5)
    # Both verbs after one prefix share their first pass.
    rows = effect.prepared(model).plan.rows
    assert not any(a != b and b[: len(a)] == a for a in rows for b in rows)
    assert len(rows) < len(words) + 1


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_minimal_pairs(kind):
    model = model_of(kind, "causal-lm")
    pairs = make_pairs(
        "toy",
        ["sat on the mat", "listens", "reads old books"],
        ["bark loudly", "listen", "reads books old"],
        prefix=["The cat", "The cat", "She"],
    )
    want = [
        loop(model, p, g) - loop(model, p, b)
        for p, g, b in zip(pairs.prefix, pairs.good, pairs.bad, strict=True)
    ]
    found = pair_effect(pairs, value="margin").measure(model)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pair_effect(pairs).measure(model), np.array(want) > 0)
    # Whole sentences: the difference of two losses times lengths.
    whole = make_pairs("whole", TEXTS[:2], TEXTS[2:4])
    loss = loss_effect(TEXTS[:4])
    sums = -loss.measure(model) * loss.weights(model)
    found = pair_effect(whole, value="margin").measure(model)
    np.testing.assert_allclose(found, sums[:2] - sums[2:], rtol=1e-5)


def test_what_cannot_be_told_apart_is_half_right():
    model = model_of("gpt2", "causal-lm")
    head = model.model.lm_head
    single = [
        word
        for word in sorted(set(" ".join(TEXTS).split()))
        if len(model.tokenizer(f" {word}")["input_ids"]) == 1
    ]
    pairs = make_pairs("toy", single[:1], single[1:2], prefix=["The"])
    handle = head.register_forward_hook(lambda mod, args, out: out * 0)
    try:
        assert pair_effect(pairs).measure(model).tolist() == [0.5]
    finally:
        handle.remove()


def test_long_texts_go_in_windows():
    model = model_of("gpt2", "causal-lm")
    text = " ".join(TEXTS * 2)
    ids = model.tokenizer(text)["input_ids"]
    limit = model.max_length
    assert limit is not None
    assert len(ids) > 2 * limit
    total, scored, begin = 0.0, 0, 0
    while scored < len(ids) - 1:
        end = min(begin + limit, len(ids) - 1)
        with torch.inference_mode():
            logp = model.model(input_ids=torch.tensor([ids[begin:end]])).logits[0]
        logp = logp.double().log_softmax(-1)
        for i in range(scored + 1, end + 1):
            total -= float(logp[i - 1 - begin, ids[i]])
        scored = end
        begin = end + 1 - limit // 2
    effect = loss_effect([text])
    assert effect.weights(model)[0] == len(ids) - 1
    assert effect.measure(model)[0] == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    with pytest.raises(InputError, match=r"toy:1.*the model takes"):
        pair_effect(make_pairs("toy", [text], [text + " ."])).measure(model)


def test_divergence_is_zero_without_an_edit_and_right_with_one():
    model = model_of("gpt2", "causal-lm")
    effect = divergence(TEXTS[:3])
    np.testing.assert_allclose(effect.measure(model), 0, atol=1e-6)
    edit = Edit.zero([("mlp.2", range(20))])
    want = []
    for text in TEXTS[:3]:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])[:, :-1]
        with torch.inference_mode():
            p = model.model(input_ids=ids).logits[0].double().log_softmax(-1)
            with edited(model, edit):
                q = model.model(input_ids=ids).logits[0].double().log_softmax(-1)
        want.append(float((p.exp() * (p - q)).sum(-1).mean()))
    with edited(model, edit):
        found = effect.measure(model)
    assert min(want) > 1e-3
    np.testing.assert_allclose(found, want, rtol=1e-3)


# Masked models ---------------------------------------------------------------------------------


def test_pseudo_likelihood_hides_one_subword_at_a_time():
    model = model_of("bert", "masked-lm")
    mask = model.tokenizer.mask_token_id
    for whole in (False, True):
        want, hits, counts = [], [], []
        for text in TEXTS[:4]:
            ids = model.tokenizer(text)["input_ids"]
            words = model.tokenizer(text).word_ids(0)
            total, hit = 0.0, 0
            for i in range(1, len(ids) - 1):
                hidden = [
                    mask if j == i or (whole and j > i and words[j] == words[i]) else t
                    for j, t in enumerate(ids)
                ]
                with torch.inference_mode():
                    logits = model.model(input_ids=torch.tensor([hidden])).logits[0, i]
                total += float(logits.double().log_softmax(0)[ids[i]])
                hit += int(logits.argmax()) == ids[i]
            want.append(total)
            hits.append(hit)
            counts.append(len(ids) - 2)
        pairs = make_pairs("pll", TEXTS[:2], TEXTS[2:4])
        found = pair_effect(pairs, value="margin", whole_words=whole).measure(model)
        np.testing.assert_allclose(found, np.subtract(want[:2], want[2:]), rtol=1e-4)
        accuracy = hidden_words(TEXTS[:4], whole_words=whole)
        np.testing.assert_allclose(accuracy.measure(model), np.divide(hits, counts))
        np.testing.assert_array_equal(accuracy.weights(model), counts)


# Heads and probes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["distilbert", "gpt2", "llama"])
def test_classes_one_text_at_a_time(kind):
    model = model_of(kind, "classification")
    said = []
    for text in TEXTS:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            said.append(int(model.model(input_ids=ids).logits[0].argmax()))
    assert len(set(said)) > 1 or kind == "distilbert"
    assert class_accuracy(TEXTS, [f"LABEL_{c}" for c in said]).measure(model).all()
    wrong = class_accuracy(TEXTS, [str((c + 1) % 3) for c in said])
    assert not wrong.measure(model).any()
    with pytest.raises(LabelError, match="no class"):
        class_accuracy(TEXTS[:1], ["LABEL_9"]).measure(model)


def test_a_probe_reads_the_running_model():
    model = tiny.loaded("gpt2")
    corpus = tiny.corpus()
    site = find_sites(model, ["hidden"])[2]
    rng = np.random.default_rng(0)
    neurons = ["hidden.2:3", "hidden.2:5", "mlp.3:7"]
    classes = sorted(set(corpus.tokens["tag"].to_list()))
    probe = {
        "classes": classes,
        "neurons": neurons,
        "coef": rng.standard_normal((len(classes), 3)),
        "intercept": rng.standard_normal(len(classes)),
        "mean": rng.standard_normal(3),
        "spread": np.array([1.0, 2.0, 0.5]),
    }
    effect = readout(corpus, "tag", **probe)
    values = effect.activations(model)
    row = 0
    for sentence in corpus:
        given = model.tokenizer(sentence.text, return_offsets_mapping=True)
        ids = torch.tensor([given["input_ids"]])
        with torch.inference_mode(), capture(model, [site]) as seen:
            run(model, ids, torch.ones_like(ids))
            hidden = seen[site.name][0].numpy()
        for _, end in sentence.offsets:
            last = [i for i, (a, b) in enumerate(given["offset_mapping"]) if a < end <= b][-1]
            np.testing.assert_allclose(values[row, :2], hidden[last, [3, 5]], atol=1e-5)
            row += 1
    scores = (values - probe["mean"]) / probe["spread"] @ probe["coef"].T + probe["intercept"]
    truth = [classes.index(tag) for tag in corpus.tokens["tag"].to_list()]
    np.testing.assert_array_equal(effect.measure(model), scores.argmax(1) == truth)
    with edited(model, Edit.set(["hidden.2:3", "hidden.2:5"], [9.0, -9.0])):
        changed = effect.activations(model)
    np.testing.assert_array_equal(changed[:, :2], np.tile([9.0, -9.0], (len(changed), 1)))
    assert np.abs(changed[:, 2] - values[:, 2]).max() > 1e-3
    with pytest.raises(SettingError, match="coef has shape"):
        readout(corpus, "tag", **(probe | {"coef": np.zeros((1, 3))}))


# SyntaxGym -------------------------------------------------------------------------------------


def test_regions_add_up_to_the_sentence(tmp_path):
    model = model_of("gpt2", "causal-lm")
    good, bad = TEXTS[1], TEXTS[4]
    parts = {"a": ["Dogs bark", "", "loudly at night , and the cat", "listens ."], "b": [bad]}
    rows = [
        {
            "condition_name": name,
            "regions": [{"region_number": i + 1, "content": c} for i, c in enumerate(content)],
        }
        for name, content in parts.items()
    ]
    formulas = [
        "(*;%a%) = [(1;%a%) + (3;%a%)] + (4;%a%)",
        "(2;%a%) = 0",
        "(*;%a%) < (*;%b%)",
        "[(*;%a%) > (*;%b%)] | [(*;%a%) - (*;%b%) < 0] & 1 > 0",
    ]
    path = tmp_path / "toy.json"
    tree = {
        "meta": {"name": "toy", "metric": "sum"},
        "predictions": [{"type": "formula", "formula": text} for text in formulas],
        "items": [{"item_number": 1, "conditions": rows}],
    }
    path.write_text(json.dumps(tree))
    loss = loss_effect([good, bad])
    sums = loss.measure(model) * loss.weights(model)
    effect = suite_effect(read_suite(path))
    assert effect.measure(model).tolist() == [1, 1, float(sums[0] < sums[1]), 1]
    bits = -effect.slots(model) / math.log(2)
    assert bits.sum() == pytest.approx(sums.sum() / math.log(2), rel=1e-5)
    assert bits[1] == 0
    # Each region is its words after all that stands before them.
    third, fourth = parts["a"][2:]
    before = ["Dogs bark", f"Dogs bark {third}"]
    want = word_effect(before, [third, fourth]).measure(model)
    np.testing.assert_allclose(bits[2:4], -want / math.log(2), rtol=1e-5)


# Writing ---------------------------------------------------------------------------------------


def test_text_is_what_the_library_writes():
    model = model_of("llama", "causal-lm")
    prompts = ["The cat", "Two birds were"]
    want = []
    for prompt in prompts:
        ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            out = model.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=6,
                eos_token_id=None,
            )
        whole = model.tokenizer.decode(out[0, 1:])
        want.append(whole[len(model.tokenizer.decode(ids[0, 1:])) :])
    assert list(generate(model, prompts, tokens=6)) == want
    table = side_by_side(model, prompts, Edit.zero([("hidden.2", range(8))]), tokens=6)
    assert table["before"].to_list() == want
    assert table["after"].to_list() != want
    assert list(generate(model, prompts, tokens=6)) == want


@pytest.mark.parametrize("where", ["last", "first", "mask", "values", "resample"])
def test_edits_of_a_prompt_stay_there_while_text_is_written(where):
    model = model_of("gpt2", "causal-lm")
    neurons, prompt = ("hidden.2", range(6)), "The cat sat on"
    ids = torch.tensor([with_start(model, prompt)])
    length = ids.shape[1]
    # Far from anything, so that what is edited decides what is written.
    values = np.linspace(-40, 40, 6)
    edit = {
        "last": lambda: Edit.set(neurons, values, positions=-1),
        "first": lambda: Edit.set(neurons, values, positions=[0, 1]),
        "mask": lambda: Edit.set(neurons, values, mask=np.arange(length)[None] == length - 1),
        "values": lambda: Edit.set(neurons, np.outer(np.arange(length), values)),
        "resample": lambda: Edit.resample(neurons, np.stack([values, -values])),
    }[where]()
    with torch.inference_mode(), edited(model, edit):
        out = model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=6,
            eos_token_id=None,
            pad_token_id=0,
            use_cache=False,
        )
    own = ids[0, encode(model, [prompt], ["p"], causal=True)[0].first :]
    whole = model.tokenizer.decode([*own.tolist(), *out[0, length:].tolist()])
    want = whole[len(model.tokenizer.decode(own)) :]
    # Twice: the second prompt is a prompt too.
    table = side_by_side(model, [prompt, prompt], edit, tokens=6)
    assert table["after"].to_list() == [want, want]
    assert table["before"][0] != want


def test_nothing_to_score_is_an_error_and_blanks_do_not_count(tmp_path):
    model = model_of("gpt2", "causal-lm")
    want = word_effect(["The cat"], ["sat"]).measure(model)
    np.testing.assert_array_equal(word_effect(["The cat "], [" sat"]).measure(model), want)
    with pytest.raises(InputError, match=r"next word:2: the word is empty"):
        word_effect(["The cat", "The"], ["sat", " "])
    # A word that the tokenizer leaves out: a sum over nothing would say that it is certain.
    bert = model_of("bert", "masked-lm")
    with pytest.raises(InputError, match=r"next word:1: .* has no subword"):
        word_effect(["The cat"], ["\u200b"]).measure(bert)


def test_a_region_without_a_probability_is_an_error_where_it_is_asked_for(tmp_path):
    model = dataclasses.replace(model_of("gpt2", "causal-lm"), start="none")
    regions = [{"region_number": i, "content": text} for i, text in ((1, "A"), (2, "cat sat"))]
    conditions = [{"condition_name": name, "regions": regions} for name in ("x", "y")]
    for formula, fails in (("(1;%x%) = (1;%y%)", True), ("(*;%x%) = (2;%x%)", False)):
        tree = {
            "meta": {"name": "s"},
            "items": [{"item_number": 1, "conditions": conditions}],
            "predictions": [{"formula": formula}],
        }
        path = tmp_path / "suite.json"
        path.write_text(json.dumps(tree))
        effect = suite_effect(read_suite(path))
        if fails:
            with pytest.raises(InputError, match=r"item 1, x: .* has no probability"):
                effect.measure(model)
        else:
            assert effect.measure(model).tolist() == [1.0]
