"""Edits in the running model: exact values, what flows on, and nothing left behind."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import pytest
import tiny_models as tiny
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.errors import ModelError, NisslError, SettingError
from nissl.model import Edit, all_sites, capture, edited, find_sites, run

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 4, 5], [9, 8, 30, 31, 6]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


def out_of(model: Any, ids: torch.Tensor = IDS, mask: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return run(model, ids, torch.ones_like(ids) if mask is None else mask)[0].clone()


def seen_of(model: Any, site: str, *edits: Edit, mask: torch.Tensor | None = None) -> torch.Tensor:
    sites = [each for each in all_sites(model)[0] if each.name == site]
    full = torch.ones_like(IDS) if mask is None else mask
    with torch.inference_mode(), edited(model, *edits), capture(model, sites) as seen:
        run(model, IDS, full)
        return seen[site].clone()


def hooks(model: Any) -> int:
    """Everything that could be left on a model."""
    found = 0
    for module in model.modules():
        found += len(module._forward_hooks) + len(module._forward_pre_hooks)
        found += len(module._forward_hooks_with_kwargs) + len(module._forward_hooks_always_called)
        found += ("forward" in module.__dict__) + ("generate" in module.__dict__)
    return found


def _head(model: Any) -> Any:
    return model.get_output_embeddings()


def causal(kind: str) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.folder(kind))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for value in _head(model).parameters():
            value.data = torch.randn_like(value)
    return model.eval()


@pytest.mark.parametrize("kind", tiny.TEXT)
def test_every_site_of_every_architecture(kind):
    model = tiny.loaded(kind)
    before = out_of(model)
    weights = [value.clone() for value in model.model.parameters()]
    for site in all_sites(model)[0]:
        edit = Edit.set((site, [3, 1]), [7.0, -2.0])
        if site.module.endswith("experts"):
            with pytest.raises(ModelError, match="fused experts"), edited(model, edit):
                pass
            continue
        keep = lambda site, tensor: tensor.clone()  # noqa: E731
        with edited(model, edit), capture(model, [site], keep=keep) as seen:
            after = out_of(model)
            values = seen[site.name]
        assert (values[..., 3] == 7).all(), site.name
        assert (values[..., 1] == -2).all(), site.name
        assert float((after - before).abs().max()) > 1e-4, site.name
    assert torch.equal(out_of(model), before)
    assert hooks(model.model) == 0
    assert all(map(torch.equal, weights, model.model.parameters()))


@pytest.mark.parametrize(
    ("kind", "path"),
    [("gpt2", "h.1.mlp.c_proj"), ("gpt2", "h.1.attn.c_proj"), ("llama", "layers.1.mlp.down_proj")],
)
def test_zero_is_as_if_the_weights_out_of_it_were_zero(kind, path):
    model = tiny.loaded(kind)
    site = "head.2" if "attn" in path else "mlp.2"
    other = copy.deepcopy(model.model)
    weight: Any = other.get_submodule(path).weight
    rows = weight.data if kind == "gpt2" else weight.data.T
    rows[[2, 9]] = 0
    with edited(model, Edit.zero([f"{site}:9", f"{site}:2"])):
        found = out_of(model)
    torch.testing.assert_close(found, out_of(other), rtol=1e-5, atol=1e-5)


def test_each_kind_of_edit():
    model = tiny.loaded("gpt2")
    plain = seen_of(model, "mlp.2")
    units = [4, 0]
    rest = [i for i in range(tiny.MLP) if i not in units]

    def now(edit: Edit) -> torch.Tensor:
        found = seen_of(model, "mlp.2", edit)
        assert torch.equal(found[..., rest], plain[..., rest])
        return found[..., units]

    old = plain[..., units]
    neurons = ["mlp.2:4", "mlp.2:0"]
    assert not now(Edit.zero(neurons)).any()
    assert (now(Edit.mean(neurons, [0.25, -1])) == torch.tensor([0.25, -1.0])).all()
    table = np.arange(10.0).reshape(5, 2)
    assert torch.equal(
        now(Edit.mean(neurons, table)), torch.tensor(table).float().expand(3, -1, -1)
    )
    assert torch.equal(now(Edit.scale(neurons, [3.0, 0.5])), old * torch.tensor([3.0, 0.5]))
    moved = old + 2 * torch.tensor([1.0, -3.0])
    assert torch.equal(now(Edit.translate(neurons, [1, -3], 2)), moved)
    assert torch.equal(now(Edit.clamp(neurons, low=-0.1, high=0.1)), old.clamp(-0.1, 0.1))
    floor = torch.maximum(old, torch.tensor([0.2, -9.0]))
    assert torch.equal(now(Edit.clamp(neurons, low=[0.2, -9])), floor)
    other = torch.randn((1, 5, tiny.MLP))
    patched = now(Edit.patch(neurons, {"mlp.2": other}))
    assert torch.equal(patched, other[..., units].expand(3, -1, -1))


def test_resample_takes_whole_rows_and_repeats_with_its_seed():
    model = tiny.loaded("llama")
    pool = np.stack([np.arange(50.0), -np.arange(50.0)], axis=1)
    first = seen_of(model, "mlp.1", Edit.resample(("mlp.1", [5, 6]), pool, seed=1))
    again = seen_of(model, "mlp.1", Edit.resample(("mlp.1", [5, 6]), pool, seed=1))
    other = seen_of(model, "mlp.1", Edit.resample(("mlp.1", [5, 6]), pool, seed=2))
    assert torch.equal(first[..., 5], -first[..., 6])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first[..., 5].unique()) > 8


def test_thousands_in_one_edit_and_values_in_the_order_given():
    model = tiny.loaded("bert")
    sites = find_sites(model, ["mlp", "hidden"])
    pairs = [(site, list(range(site.width))[::-1]) for site in sites]
    count = sum(site.width for site in sites)
    edit = Edit.set(pairs, np.arange(count))
    assert len(edit) == count
    first = seen_of(model, sites[0].name, edit)
    want = torch.arange(sites[0].width).flip(0).float().expand_as(first)
    assert torch.equal(first, want)


def test_edits_of_one_site_are_done_in_order():
    model = tiny.loaded("gpt2")
    put, twice = Edit.set("hidden.1:3", 2.0), Edit.scale("hidden.1:3", 2.0)
    assert (seen_of(model, "hidden.1", put, twice)[..., 3] == 4).all()
    assert (seen_of(model, "hidden.1", twice, put)[..., 3] == 2).all()
    with edited(model, put):
        inner = seen_of(model, "hidden.1", twice)
    assert (inner[..., 3] == 4).all()


IDLE = [
    Edit.zero([]),
    Edit.zero(("mlp.1", [])),
    Edit.scale(("mlp.1", range(9)), 1.0),
    Edit.translate("hidden.2:3", [5.0], 0.0),
    Edit.zero("mlp.1:3", positions=[]),
    Edit.zero("mlp.1:3", mask=np.zeros((3, 5), dtype=bool)),
    Edit.zero("mlp.1:3", sentences=()),
]


@pytest.mark.parametrize("edit", IDLE, ids=repr)
def test_editing_nothing_is_bit_identical(edit):
    model = tiny.loaded("gpt2")
    before = out_of(model)
    with edited(model, edit):
        assert hooks(model.model) == 0
        assert torch.equal(out_of(model), before)
    with edited(model):
        assert torch.equal(out_of(model), before)


def test_zeroing_twice_is_zeroing_once_and_disjoint_edits_commute():
    model = tiny.loaded("llama")
    zero = Edit.zero(["mlp.2:3", "head.1:2"])
    a, b = Edit.scale(("mlp.2", [1, 2]), 3.0), Edit.translate(("mlp.2", [5]), [1.0])
    c = Edit.set(("hidden.3", [0]), 1.0)
    runs = []
    for edits in ((zero,), (zero, zero), (a, b, c), (c, b, a), (b, c, a)):
        with edited(model, *edits):
            runs.append(out_of(model))
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[2], runs[3])
    assert torch.equal(runs[2], runs[4])
    assert not torch.equal(runs[0], runs[2])


@settings(max_examples=40)
@given(st.data())
def test_only_the_tokens_that_are_meant(data):
    model = tiny.loaded("distilbert")
    flags = data.draw(st.lists(st.booleans(), min_size=15, max_size=15))
    mask = torch.tensor(flags).reshape(3, 5)
    positions = data.draw(st.none() | st.lists(st.integers(-3, 4), max_size=4))
    rows = data.draw(st.none() | st.lists(st.integers(0, 2), max_size=3))
    use_mask = data.draw(st.booleans())
    edit = Edit.set(
        "hidden.1:2", 9.0, mask=mask if use_mask else None, positions=positions, sentences=rows
    )
    found = seen_of(model, "hidden.1", edit, mask=MASK)
    want = mask.clone() if use_mask else torch.ones((3, 5), dtype=torch.bool)
    lengths = MASK.sum(1).tolist()
    for b in range(3):
        allowed = {p if p >= 0 else lengths[b] + p for p in positions or ()}
        for t in range(5):
            want[b, t] &= (positions is None or t in allowed) and (rows is None or b in rows)
    assert torch.equal(found[..., 2] == 9, want)
    plain = seen_of(model, "hidden.1", mask=MASK)
    assert torch.equal(found[~want], plain[~want])


def test_patching_everything_gives_the_other_output():
    """The residual stream alone decides what comes after."""
    model = tiny.loaded("gpt2")
    other = IDS.flip(1)
    site = find_sites(model)[2]
    with torch.inference_mode(), capture(model, [site]) as seen:
        run(model, other, torch.ones_like(other))
        kept = {site.name: seen[site.name].clone()}
    with edited(model, Edit.patch((site, range(site.width)), kept)):
        found = out_of(model)
    assert torch.equal(found, out_of(model, other))
    assert not torch.equal(found, out_of(model))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_no_hook_is_left_by_an_exception(error, monkeypatch):
    model = causal("gpt2")
    edit = Edit.zero([("hidden.2", [1]), ("mlp.1", [2])], positions=-1)
    with pytest.raises(error), edited(model, edit):  # noqa: PT012
        assert hooks(model) > 0
        raise error
    assert hooks(model) == 0

    def fails(*args: Any) -> None:
        raise error

    model.transformer.h[2].ln_1.forward = fails
    with pytest.raises(error), edited(model, edit):
        model(IDS)
    del model.transformer.h[2].ln_1.forward
    assert hooks(model) == 0
    for name in ("register_forward_hook", "register_forward_pre_hook"):
        plain = getattr(torch.nn.Module, name)
        for last in range(3):
            left = iter(range(last))

            def register(self: Any, *args: Any, left: Any = left, plain: Any = plain, **kw: Any):
                if next(left, None) is None:
                    raise error
                return plain(self, *args, **kw)

            monkeypatch.setattr(torch.nn.Module, name, register)
            with pytest.raises(error), edited(model, edit):
                pass
            monkeypatch.undo()
            assert hooks(model) == 0


def test_a_pass_that_was_cut_short_does_not_spoil_the_next():
    model = tiny.loaded("albert")
    edit = Edit.set("hidden.2:3", 5.0)
    want = seen_of(model, "hidden.2", edit)
    top = [site for site in find_sites(model) if site.name == "hidden.1"]
    with torch.inference_mode(), edited(model, edit):
        with capture(model, top, stop=True):
            run(model, IDS, torch.ones_like(IDS))
        sites = [site for site in find_sites(model) if site.name == "hidden.2"]
        with capture(model, sites) as seen:
            run(model, IDS, torch.ones_like(IDS))
            assert torch.equal(seen["hidden.2"], want)


@pytest.mark.parametrize("how", ["everywhere", "positions", "last", "mask", "sentences", "patch"])
def test_generation_with_and_without_a_cache(how):
    model = causal("gpt2")
    ids, mask = IDS[:, :4].clone(), torch.ones((3, 4), dtype=torch.long)
    mask[1, 0] = 0
    options: dict[str, Any] = {
        "everywhere": {},
        "positions": {"positions": [1, 2]},
        "last": {"positions": -1},
        "mask": {"mask": np.array([[1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)},
        "sentences": {"sentences": [0, 2]},
    }
    neurons = ("hidden.2", range(6))
    edit = (
        Edit.patch(neurons, {"hidden.2": torch.randn((3, 4, tiny.WIDTH)) * 3})
        if how == "patch"
        else Edit.set(neurons, [4.0, -4, 4, 1, -2, 2], **options[how])
    )
    base = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    rows = []
    for cache in (True, False):
        with torch.inference_mode(), edited(model, edit):
            rows.append(
                model.generate(
                    ids, use_cache=cache, output_logits=True, return_dict_in_generate=True, **base
                )
            )
    assert torch.equal(rows[0].sequences, rows[1].sequences)
    with torch.inference_mode():
        plain = model.generate(ids, output_logits=True, return_dict_in_generate=True, **base)
    for a, b in zip(rows[0].logits, rows[1].logits, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    changed = (rows[0].logits[0] - plain.logits[0]).abs().amax(1) > 1e-4
    untouched = {"sentences": [1], "mask": [2]}.get(how, [])
    assert [i for i in range(3) if not changed[i]] == untouched
    assert hooks(model) == 0


def test_a_new_token_is_edited_only_where_nothing_is_restricted():
    model = causal("llama")
    site = next(site for site in find_sites(model, ["mlp"]) if site.name == "mlp.2")
    for options, want in (({}, True), ({"sentences": [0]}, True), ({"positions": 0}, False)):
        seen_rows: list[torch.Tensor] = []
        edit = Edit.set((site, [3]), 6.0, **options)
        keep = lambda s, t, rows=seen_rows: rows.append(t.clone())  # noqa: E731
        with torch.inference_mode(), edited(model, edit), capture(model, [site], keep=keep):
            model.generate(IDS[:1], max_new_tokens=4, do_sample=False, pad_token_id=0)
        assert [rows.shape[1] for rows in seen_rows] == [5, 1, 1, 1]
        assert (seen_rows[0][0, 0, 3] == 6).all()
        assert all(bool((rows[..., 3] == 6).all()) == want for rows in seen_rows[1:])


def test_encoder_decoder_generation_edits_the_encoder_once():
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tiny.folder("bart")).eval()
    edit = Edit.set(("encoder.hidden.2", range(8)), 3.0)
    options: dict[str, Any] = {"max_new_tokens": 3, "min_new_tokens": 3, "num_beams": 1}
    with torch.inference_mode():
        made = {"output_logits": True, "return_dict_in_generate": True, **options}
        plain = model.generate(IDS, **made)
        with edited(model, edit):
            found = model.generate(IDS, **made)
    assert float((plain.logits[0] - found.logits[0]).abs().max()) > 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype):
    model = copy.deepcopy(tiny.loaded("llama").model).to(dtype)
    edits = [Edit.set("mlp.2:3", 1.5), Edit.scale("hidden.1:2", 2.0), Edit.translate("head.3:1", 1)]
    with edited(model, *edits):
        assert out_of(model).dtype == dtype
    found = seen_of(model, "mlp.2", edits[0])
    assert found.dtype == dtype
    assert (found[..., 3] == 1.5).all()
    full = tiny.loaded("llama")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = out_of(full)
        assert (seen_of(full, "mlp.2", *edits)[..., 3] == 1.5).all()
        assert torch.equal(out_of(full), before)


def test_gradients_flow_through_an_edit():
    model = tiny.loaded("gpt2").model
    given = model.wte(IDS).detach().requires_grad_(True)
    with edited(model, Edit.zero(("hidden.1", range(tiny.WIDTH)), sentences=[0])):
        model(inputs_embeds=given)[0].square().sum().backward()
    slope = given.grad
    assert slope is not None
    assert not slope[0].any()
    assert slope[1:].any()


def test_compiled_models_are_refused():
    plain = copy.deepcopy(tiny.loaded("gpt2").model)
    with pytest.raises(ModelError, match="_orig_mod"), edited(torch.compile(plain), Edit.zero([])):
        pass
    inner = copy.deepcopy(plain)
    inner.h[1] = torch.compile(inner.h[1])
    with pytest.raises(ModelError, match=r"h\.1 was compiled"), edited(inner, Edit.zero([])):
        pass
    plain.compile()
    with pytest.raises(ModelError, match=r"\.compile\(\)"), edited(plain, Edit.zero([])):
        pass
    with pytest.raises(ModelError, match="no torch module"), edited("gpt2", Edit.zero([])):
        pass


WRONG = [
    (lambda: Edit.zero("mlp.1"), "neuron id"),
    (lambda: Edit.zero(cast(Any, [3])), "neither a neuron id"),
    (lambda: Edit.zero(["mlp.1:3", ("mlp.1", [3])]), "named twice"),
    (lambda: Edit.zero(("mlp.1", [-1])), "no neuron -1"),
    (lambda: Edit.zero(("mlp.1", [0.5])), "whole numbers"),
    (lambda: Edit.set(("mlp.1", [1, 2]), [1, 2, 3]), "one a neuron"),
    (lambda: Edit.set("mlp.1:1", np.nan), "not-a-numbers"),
    (lambda: Edit.set("mlp.1:1", "x"), "no numbers"),
    (lambda: Edit.clamp("mlp.1:1"), "low, high"),
    (lambda: Edit.clamp("mlp.1:1", low=2, high=1), "above"),
    (lambda: Edit.resample("mlp.1:1", np.zeros((0, 1))), "at least one row"),
    (lambda: Edit.patch("mlp.1:1", {"mlp.2": torch.zeros((1, 5, 40))}), 'Did you mean "mlp.2"'),
    (lambda: Edit.patch("mlp.1:99", {"mlp.1": torch.zeros((1, 5, 40))}), "no neuron 99"),
    (lambda: Edit.zero("mlp.1:1", mask=[[0, 1]]), "boolean"),
    (lambda: Edit.zero("mlp.1:1", positions=[0.5]), "whole numbers"),
    (lambda: Edit.zero("mlp.1:1", sentences=-1), "negative"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_meant_is_said_at_once(make, message):
    with pytest.raises(SettingError, match=message):
        make()


LATE: list[tuple[Edit, type[NisslError], str]] = [
    (Edit.zero("mlp.9:1"), SettingError, "no site"),
    (Edit.zero("mlp.1:40"), SettingError, "no neuron 40"),
    (Edit.zero("state.1:3"), ModelError, "recurrent"),
    (Edit.zero("mlp.1:1", positions=5), SettingError, "outside the 5"),
    (Edit.zero("mlp.1:1", positions=-6), SettingError, "outside the 5"),
    (Edit.zero("mlp.1:1", sentences=3), SettingError, "batch of 3"),
    (Edit.zero("mlp.1:1", mask=np.ones((2, 5), dtype=bool)), SettingError, "2 rows"),
    (Edit.zero("mlp.1:1", mask=np.ones((3, 4), dtype=bool)), SettingError, "4 columns"),
    (Edit.mean("mlp.1:1", np.zeros((4, 1))), SettingError, "4 positions"),
    (Edit.patch("mlp.1:1", {"mlp.1": torch.zeros((2, 5, 40))}), SettingError, "2 rows"),
]


@pytest.mark.parametrize(("edit", "kind", "message"), LATE, ids=[row[2] for row in LATE])
def test_what_does_not_fit_the_model_or_the_pass(edit, kind, message):
    model = tiny.loaded("gpt2")
    with pytest.raises(kind, match=message), edited(model, edit):
        out_of(model)
    assert hooks(model.model) == 0


def test_an_edit_that_never_took_place_is_an_error():
    class Fused(torch.nn.Module):
        """Multiplies by a module's weight without calling the module."""

        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(40, 4)
            self.map = torch.nn.Linear(4, 4)
            self.calls = True

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.words(ids)
            return self.map(x) if self.calls else x @ self.map.weight.T

    model = Fused().eval()
    edit = Edit.zero("module.map@input:1")
    with edited(model, edit):
        model(IDS)
    model.calls = False
    with pytest.raises(ModelError, match="never took place"), edited(model, edit):
        model(IDS)
    assert hooks(model) == 0


def test_a_pass_that_goes_on_from_a_cache_is_no_prompt():
    model = causal("gpt2")
    edit = Edit.set(("hidden.2", [3]), 6.0, positions=[1, -1])
    site = find_sites(model)[2]
    with torch.inference_mode(), edited(model, edit), capture(model, [site]) as seen:
        cache = model(IDS[:, :3], use_cache=True).past_key_values
        assert (seen["hidden.2"][..., 3] == 6).tolist() == [[False, True, True]] * 3
        model(IDS[:, 3:], past_key_values=cache, use_cache=True)
        assert not (seen["hidden.2"][..., 3] == 6).any()
