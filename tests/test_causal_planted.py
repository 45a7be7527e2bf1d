"""Planted truth: hand-built networks with one known agreement unit, which the methods must find."""

from __future__ import annotations

import functools
import math

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from nissl.effects import Pairs, divergence, loss_effect, make_pairs, pair_effect
from nissl.errors import SettingError, StoreError
from nissl.methods import _scan_run
from nissl.methods.causal_ablate import ablation_curves
from nissl.methods.causal_ablation import CausalAblation
from nissl.methods.causal_scan import scan_neurons
from nissl.methods.causal_sets import neuron_means, random_like
from nissl.methods.causal_steer import DoseResponse, steer
from nissl.methods.encoded_used import EncodedVsUsed, encoded_vs_used
from nissl.methods.neuron_scan import NeuronScan
from nissl.model import LoadedModel, capture, find_sites, run, wrap_model
from nissl.model.edit import Edit, edited
from nissl.results import load_result
from nissl.site import parse_neuron

NOUNS = [("cat", "cats"), ("dog", "dogs"), ("girl", "girls"), ("king", "kings")]
VERBS = [("runs", "run"), ("sleeps", "sleep"), ("sings", "sing"), ("waits", "wait")]
OTHERS = ["<s>", "The", "the", "near", "often", "quietly"]
WORDS = [*OTHERS, *(w for pair in NOUNS for w in pair), *(w for pair in VERBS for w in pair)]
ID = {word: i for i, word in enumerate(WORDS)}
NUMBER = torch.zeros(len(WORDS))
for _one, _many in NOUNS:
    NUMBER[ID[_one]], NUMBER[ID[_many]] = 1.0, -1.0
IS_NOUN, IS_SUBJECT_THE = NUMBER.abs(), torch.zeros(len(WORDS))
IS_SUBJECT_THE[ID["The"]] = 1.0
VERB = torch.zeros(len(WORDS))
for _one, _many in VERBS:
    VERB[ID[_one]], VERB[ID[_many]] = 1.0, -1.0
# Half of the verbs are likelier in the singular whatever stands before, half in the plural: so a
# model that has lost the number is right on half of the items.
TASTE = torch.zeros(len(WORDS))
for _i, (_one, _many) in enumerate(VERBS):
    TASTE[ID[_one]] = 0.05 * (1 if _i % 2 else -1)
NOISE = 0.01


def words() -> transformers.PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel(ID, unk_token="often"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


class PlantedLSTM(nn.Module):
    """Unit 0 keeps the subject's number, 1 knows of "The" before, 2 sees the last noun."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 4)
        self.layers = nn.LSTM(4, width, batch_first=True)
        self.head = nn.Linear(width, len(WORDS))
        self.embedding.weight.data = torch.stack(
            [NUMBER, IS_NOUN, IS_SUBJECT_THE, torch.randn(len(WORDS), generator=rng)], dim=1
        )
        w, u, b = (torch.zeros(4, width, *s) for s in ((4,), (width,), ()))
        w[:, 3:] = 0.5 * torch.randn(4, width - 3, 4, generator=rng)
        i, f, g, o = range(4)
        b[o], b[f, :3], b[i, 1:3] = 20.0, -20.0, 20.0
        # Unit 0 is written when a noun follows "The", and kept for ever.
        b[f, 0], b[i, 0], w[i, 0, 1], u[i, 0, 1] = 20.0, -30.0, 20.0, 20.0 / math.tanh(1.0)
        w[g, 0, 0], w[g, 1, 2], w[g, 2, 0] = 20.0, 20.0, 20.0
        self.layers.weight_ih_l0.data = w.reshape(-1, 4)
        self.layers.weight_hh_l0.data = u.reshape(-1, width)
        self.layers.bias_ih_l0.data = b.reshape(-1)
        self.layers.bias_hh_l0.data.zero_()
        out = NOISE * torch.randn(len(WORDS), width, generator=rng)
        out[:, :3] = 0
        out[:, 0] += 2 * VERB
        out[:, 2] += 1 * VERB
        self.head.weight.data, self.head.bias.data = out, TASTE.clone()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embedding(input_ids))[0])


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.out(scores.masked_fill(later, -1e9).softmax(dim=-1) @ self.value(x))


class Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x)
        return x + self.down(torch.tanh(self.up(x)))


LONGEST = 10
# Places of the stream: number, "The", "The" before, subject's number, verb's number, noise;
# then one place for each position.
N, THE, BEFORE, SUBJECT, OUT, JUNK, AT = 0, 1, 2, 3, 4, 5, 6


class PlantedTransformer(nn.Module):
    """Head 1 looks one token back, head 2 at the subject; ``mlp.2:0`` turns it into the verb's."""

    def __init__(self, inner: int = 12) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        width = AT + LONGEST
        self.embedding = nn.Embedding(len(WORDS), width)
        self.positions = nn.Embedding(LONGEST, width)
        self.blocks = nn.ModuleList(Block(width, inner) for _ in range(2))
        self.head = nn.Linear(width, len(WORDS))
        for value in self.parameters():
            value.data.zero_()
        table = self.embedding.weight.data
        table[:, N], table[:, THE] = NUMBER, IS_SUBJECT_THE
        table[:, JUNK] = torch.randn(len(WORDS), generator=rng)
        for p in range(LONGEST):
            self.positions.weight.data[p, AT + p] = 1.0
        first, second = (block.attention for block in self.blocks)
        for p in range(LONGEST):
            first.key.weight.data[p, AT + p] = 1.0
            first.query.weight.data[p - 1 if p else 0, AT + p] = 40.0
        first.value.weight.data[0, THE] = first.out.weight.data[BEFORE, 0] = 1.0
        second.query.weight.data[0, AT:] = 1.0
        second.key.weight.data[0, BEFORE] = 40.0
        second.value.weight.data[0, N] = second.out.weight.data[SUBJECT, 0] = 1.0
        for block in self.blocks:
            block.up.weight.data[1:, JUNK] = torch.randn(inner - 1, generator=rng)
            block.down.weight.data[OUT, 1:] = NOISE * torch.randn(inner - 1, generator=rng)
        self.blocks[1].up.weight.data[0, SUBJECT] = 3.0
        self.blocks[1].down.weight.data[OUT, 0] = 2.0
        # What stands right before the verb counts too.
        self.head.weight.data[:, OUT], self.head.weight.data[:, N] = VERB, VERB
        self.head.bias.data = TASTE.clone()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        x = x + self.positions(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@functools.cache
def planted(kind: str) -> tuple[LoadedModel, str, tuple[str, ...]]:
    """The model, its agreement unit, and the sites that are scanned."""
    torch_model = PlantedLSTM() if kind == "lstm" else PlantedTransformer()
    model = wrap_model(torch_model, words(), name=kind, head="causal-lm")
    sites = tuple(s.name for s in find_sites(model, ["hidden" if kind == "lstm" else "mlp"]))
    if kind == "lstm":
        return model, "hidden.1:0", ("hidden.1",)
    return model, "mlp.2:0", sites


def items(name: str = "agreement", adverb: str = "often") -> Pairs:
    """Local: the verb follows its subject; else another number and an adverb between."""
    prefix, good, bad, condition = [], [], [], []
    for n, subject in enumerate(NOUNS):
        other = NOUNS[(n + 1) % len(NOUNS)]
        for verb in VERBS:
            for number in (0, 1):
                long = f"The {subject[number]} near the {other[1 - number]} {adverb}"
                for text, kind in ((f"The {subject[number]}", "local"), (long, "incongruent")):
                    prefix.append(text)
                    condition.append(kind)
                    good.append(verb[number])
                    bad.append(verb[1 - number])
    return make_pairs(name, good, bad, prefix=prefix, condition=condition, group=prefix)


BOTH = pytest.mark.parametrize("kind", ["lstm", "transformer"])
TEXTS = ["The cat near the dogs often runs", "The kings sleep", "The girl near the king waits"]


@BOTH
def test_the_whole_model_agrees(kind):
    model, _, _ = planted(kind)
    assert pair_effect(items()).measure(model).all()


@BOTH
@pytest.mark.parametrize("how", ["zero", "mean"])
def test_the_scan_finds_the_unit_and_its_ablation_takes_only_long_distance(kind, how):
    model, unit, sites = planted(kind)
    reference = [f"{p} {g}" for p, g in zip(items().prefix, items().good, strict=True)]
    found = scan_neurons(
        model,
        pair_effect(items()),
        sites,
        how=how,
        reference=reference,
        joint=(1,),
        draws=20,
        test_effects=[pair_effect(items("held out", "quietly")), loss_effect(TEXTS)],
    )
    assert found.ids(1) == [unit]
    table = found.frame()
    assert table["change: incongruent"][0] == pytest.approx(-50, abs=1e-9)
    assert abs(table["change: local"][0]) <= 1
    # What tells the LSTM's unit when to listen is part of the same circuit; nothing else is.
    helpers = ["hidden.1:1", "hidden.1:2"]
    rest = table[1:].filter(~table[1:]["neuron"].is_in(helpers))
    assert rest.height >= 7
    assert rest["change"].abs().max() <= 1
    assert rest["margin"].abs().max() < 0.1
    joint = found.joint
    assert joint is not None
    # The local ones among the items held out are those that chose.
    assert found.same_items
    row = joint.at("held out", "top", 1, "incongruent")
    assert (row["base"], row["value"]) == (100, pytest.approx(50, abs=1e-9))
    assert row["low"] < -20
    assert abs(joint.at("held out", "top", 1, "local")["change"]) <= 1
    random = joint.at("held out", "random", 1, "incongruent")
    assert abs(random["change"]) <= (10 if kind == "lstm" else 1)
    text = joint.verdict(1)
    assert "costs 25.0 [12.5, 37.5] points on held out; " in text
    assert "nats per subword on loss" in text
    if kind == "transformer":
        assert text.endswith(
            "random removal of 1 in the same layers costs 0.0 ± 0.0 (20 draws): "
            "harms more than every random set."
        )


@BOTH
def test_the_exact_scan_is_one_edited_pass_a_neuron(kind):
    model, _, sites = planted(kind)
    pairs = items().take(5)
    margin, right = pair_effect(pairs, value="margin"), pair_effect(pairs)
    means = neuron_means(model, sites, TEXTS)
    found = scan_neurons(model, right, sites, means=means, joint=())
    base, base_right = margin.measure(model), right.measure(model)
    for row in found.frame().iter_rows(named=True):
        site, index = parse_neuron(row["neuron"])
        with edited(model, Edit.set(row["neuron"], means[site][index])):
            want, want_right = margin.measure(model), right.measure(model)
        assert row["margin"] == pytest.approx(float((want - base).mean()), abs=1e-5)
        assert row["change"] == pytest.approx(100 * float((want_right - base_right).mean()))
        for name in ("local", "incongruent"):
            here = right.groups == name
            assert row[f"change: {name}"] == pytest.approx(
                100 * float((want_right - base_right)[here].mean())
            )
    order = found.frame()["margin"].to_numpy()
    assert (np.diff(order) >= 0).all()
    # Margins are linear in units that the head reads, so there the screen is exact; it cannot see
    # what a saturated gate depends on.
    if kind == "lstm":
        known = found.frame().filter(pl.col("neuron") != "hidden.1:1")
        np.testing.assert_allclose(known["screen"], known["margin"], atol=1e-5)
    assert found.screen_spearman > 0.7


def test_an_interrupted_scan_goes_on(tmp_path, monkeypatch):
    model, unit, sites = planted("transformer")
    monkeypatch.setattr(_scan_run, "PIECE", 2)
    monkeypatch.setattr(_scan_run, "ROWS_TOKENS", 64)
    effect = pair_effect(items())
    options = {"how": "zero", "joint": (), "screened": False}
    whole = scan_neurons(model, effect, sites, **options)
    plain, seen = _scan_run.scan, []

    def stopping(*args, **kwargs):
        for chunk in plain(*args, **kwargs):
            if len(seen) == 7:
                raise KeyboardInterrupt
            seen.extend(chunk.units)
            yield chunk

    monkeypatch.setattr(_scan_run, "scan", stopping)
    with pytest.raises(KeyboardInterrupt):
        scan_neurons(model, effect, sites, folder=tmp_path, **options)
    assert not list(tmp_path.glob("*.part"))
    assert all(not module._forward_hooks for module in model.model.modules())
    done = []

    def counting(*args, **kwargs):
        for chunk in plain(*args, **kwargs):
            done.extend(chunk.units)
            yield chunk

    monkeypatch.setattr(_scan_run, "scan", counting)
    again = scan_neurons(model, effect, sites, folder=tmp_path, **options)
    batches = len(list(_scan_run.batches_of(model, effect.prepared(model).plan, equal=True)))
    assert len(done) == batches * 24 - len(seen)
    assert again.frame().equals(whole.frame())
    done.clear()
    assert scan_neurons(model, effect, sites, folder=tmp_path, **options).ids(1) == [unit]
    assert not done
    with pytest.raises(StoreError, match="of other values"):
        scan_neurons(
            model, effect, sites, folder=tmp_path, **(options | {"how": "mean"}), reference=TEXTS
        )
    part = next(tmp_path.glob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:20])
    with pytest.raises(StoreError, match="is damaged"):
        scan_neurons(model, effect, sites, folder=tmp_path, **options)


@BOTH
def test_curves_and_their_controls(kind, tmp_path):
    model, unit, _ = planted(kind)
    widths = {s.name: s.width for s in find_sites(model, ["hidden" if kind == "lstm" else "mlp"])}
    site = parse_neuron(unit)[0]
    order = [unit, *(f"{site}:{i}" for i in range(3, widths[site]))]
    effect, other = pair_effect(items()), divergence(TEXTS)
    found = ablation_curves(
        model, order, [effect, other], [1, 3], how="zero", draws=20, seed=3, name="planted"
    )
    for k in (1, 3):
        with edited(model, Edit.zero(order[:k])):
            want = 100 * effect.measure(model).mean()
            moved = np.average(other.measure(model), weights=other.weights(model))
        assert found.at("agreement", "top", k)["value"] == pytest.approx(want)
        assert found.at("KL on other text", "top", k)["value"] == pytest.approx(moved)
        with edited(model, Edit.zero(order[-k:])):
            bottom = 100 * effect.measure(model).mean()
        assert found.at("agreement", "bottom", k)["value"] == pytest.approx(bottom)
        each = []
        for drawn in random_like(model, order[:k], 20, seed=3):
            assert [parse_neuron(n)[0] for n in drawn] == [site] * k
            assert not set(drawn) & set(order[:k])
            with edited(model, Edit.zero(drawn)):
                each.append(100 * (effect.measure(model) - 1).mean())
        row = found.at("agreement", "random", k)
        assert row["change"] == pytest.approx(np.mean(each))
        assert row["sd"] == pytest.approx(np.std(each, ddof=1))
        assert row["draws"] == 20
        top = found.at("agreement", "top", k)
        assert top["p"] == pytest.approx((1 + sum(e <= top["change"] + 1e-9 for e in each)) / 21)
        assert top["beyond"] == pytest.approx(top["change"] - np.mean(each))
        assert top["low"] <= top["change"] <= top["high"]
    found.save(tmp_path)
    back = load_result(tmp_path)
    assert isinstance(back, CausalAblation)
    assert back.summary() == found.summary()
    assert back.plot().get_xlabel() == "neurons removed"
    for wrong, says in (
        ({"ks": [99]}, "sizes must lie"),
        ({"draws": 1}, "at least 2 random draws"),
        ({"how": "mean"}, "reference texts"),
        ({"how": "half"}, '"mean" or "zero"'),
    ):
        with pytest.raises(SettingError, match=says):
            ablation_curves(
                model, order, [effect], **({"ks": [1], "how": "zero", "draws": 2} | wrong)
            )


@BOTH
def test_steering_turns_the_verb(kind, tmp_path):
    model, unit, sites = planted(kind)
    difference = {f"{s}:{i}": 0.0 for s in sites for i in range(12)} | {unit: 2.0}
    singular = make_pairs(
        "singular",
        ["runs", "sings"],
        ["run", "sing"],
        prefix=["The cats near the dog often", "The dogs near the cat often"],
    )
    effect, fluency = pair_effect(singular), loss_effect(TEXTS)
    found = steer(
        model,
        [unit],
        difference,
        effect,
        fluency,
        k=1,
        doses=[-1, 1.5, 0],
        prompts=["The cats near the dog often"],
        tokens=1,
        draws=4,
    )
    up, down = (found.at("singular", "ranked", dose) for dose in (1.5, -1.0))
    assert (up["base"], up["value"], down["value"]) == (0, 100, 0)
    assert sorted(found.table["dose"].unique().to_list()) == [-1.0, 1.5]
    with edited(model, Edit.translate([unit], [2.0], 1.5)):
        want = np.average(fluency.measure(model), weights=fluency.weights(model))
    assert found.at("loss", "ranked", 1.5)["value"] == pytest.approx(want)
    assert found.at("loss", "ranked", 1.5)["change"] > 0.05
    texts = {row["dose"]: row["text"].strip() for row in found.texts.iter_rows(named=True)}
    assert texts[0.0] in [v[1] for v in VERBS]
    assert texts[1.5] in [v[0] for v in VERBS]
    assert "moves singular by +100.0" in " ".join(found.summary())
    found.save(tmp_path)
    assert isinstance(load_result(tmp_path), DoseResponse)
    with pytest.raises(SettingError, match="no class difference for neuron"):
        steer(model, [unit], {}, effect, fluency, k=1)


def test_encoded_or_used(tmp_path):
    model, _, sites = planted("transformer")
    found = scan_neurons(model, pair_effect(items()), sites, how="zero", joint=())
    order = found.frame()["neuron"].to_list()
    rng = np.random.default_rng(0)
    shuffled = [order[int(i)] for i in rng.permutation(len(order))]
    half = order[: len(order) // 2]
    mixed = [*shuffled[:12], *(n for n in order if n not in shuffled[:12])]
    result = encoded_vs_used(
        found,
        {"same": order, "turned": order[::-1], "shuffled": shuffled, "mixed": mixed},
        property="number",
        k=5,
    )
    by_name = {row["ranking"]: row for row in result.frame().iter_rows(named=True)}
    assert by_name["same"]["spearman"] == pytest.approx(1)
    assert by_name["turned"]["spearman"] == pytest.approx(-1)
    assert (by_name["same"]["shared"], by_name["turned"]["shared"]) == (5, 0)
    assert by_name["shuffled"]["low"] < 0.5
    assert result.frame()["ranking"][0] == "same"
    assert "neurons that encode number tend to be used" in result.conclusion()
    none = encoded_vs_used(found, {"turned": order[::-1], "shuffled": shuffled}, property="x")
    assert "no ranking orders neurons" in none.conclusion()
    assert "No ranking's best neurons" in none.conclusion()
    # An order that is right in its first places only.
    first = [*order[:5], *order[5:][::-1]]
    only = encoded_vs_used(found, {"first": first, "turned": order[::-1]}, property="x", k=5)
    row = only.frame().filter(ranking="first").row(0, named=True)
    n = len(order)
    assert row["p"] == pytest.approx(min(1.0, 2 / math.comb(n, 5)))
    assert "first 5 (" in only.conclusion()
    # A ranking of other neurons narrows the comparison to what is shared.
    assert encoded_vs_used(found, {"half": half, "same": order}).neurons == len(half)
    with pytest.raises(SettingError, match="in common"):
        encoded_vs_used(found, {"x": ["hidden.0:1"]})
    result.save(tmp_path / "a")
    assert isinstance(load_result(tmp_path / "a"), EncodedVsUsed)
    found.save(tmp_path / "b")
    assert isinstance(load_result(tmp_path / "b"), NeuronScan)


@BOTH
def test_means_are_over_words_alone(kind):
    model, _, sites = planted(kind)
    found = neuron_means(model, sites, TEXTS)
    rows = {site: [] for site in sites}
    every = find_sites(model, ["hidden" if kind == "lstm" else "mlp"])
    for text in TEXTS:
        ids = torch.tensor([[0, *model.tokenizer(text)["input_ids"]]])
        with torch.inference_mode(), capture(model, every) as seen:
            run(model, ids, torch.ones_like(ids))
            for site in sites:
                rows[site].append(seen[site][0, 1:].numpy())
    for site in sites:
        np.testing.assert_allclose(found[site], np.concatenate(rows[site]).mean(0), atol=1e-6)
