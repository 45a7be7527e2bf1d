"""The scan is a loop of edited forwards; the screen is its derivative."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
import torch
import transformers

from nissl.errors import ModelError, SettingError
from nissl.model import Edit, all_sites, edited, find_sites, run, scan, screen

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 4, 5], [9, 8, 30, 31, 6]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


class Reader(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(40, 6)
        self.layers = torch.nn.LSTM(6, 7, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(7, 4)

    def forward(self, input_ids: torch.Tensor) -> Any:
        return (self.head(self.layers(self.words(input_ids))[0]),)


def double(kind: str) -> Any:
    """A tiny model in double precision, where effects are not lost in roundings."""
    if kind == "lstm":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Reader().double().eval().requires_grad_(False)
    return copy.deepcopy(tiny.loaded(kind).model).double()


def weighed(out: Any) -> torch.Tensor:
    """One number a row, of all that the model gives."""
    flat = out[0].flatten(1)
    return flat.square() @ torch.linspace(-1, 1, flat.shape[1], dtype=flat.dtype)


def looped(model: Any, site: Any, units: Any, target: Any = 0.0, measure: Any = weighed) -> Any:
    """The definition: one edited forward for each neuron."""
    aims = np.broadcast_to(target, site.width)
    with torch.inference_mode():
        base = measure(run(model, IDS, MASK))
        rows = []
        for unit in units:
            with edited(model, Edit.set((site, [unit]), aims[unit])):
                rows.append(measure(run(model, IDS, MASK)) - base)
    return torch.stack(rows).numpy()


def scanned(*args: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    chunks = list(scan(*args, **options))
    return (
        np.concatenate([chunk.units for chunk in chunks]),
        np.concatenate([chunk.effects for chunk in chunks]),
        all(chunk.skipped for chunk in chunks),
    )


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "t5", "albert", "lstm"])
def test_scan_is_the_loop(kind):
    model = double(kind)
    for site in all_sites(model)[0]:
        if site.kind == "state" and site.part not in ("hidden", "cell"):
            continue
        means = np.linspace(-1, 1, site.width)
        some = [3, 0, 5]
        for target in (0.0, means) if site.layer == 2 else (0.0,):
            units, effects, skipped = scanned(
                model, (IDS, MASK), site, weighed, units=some, target=target, rows=6
            )
            want = looped(model, site, some, target)
            assert units.tolist() == some
            assert effects.shape == (3, 3)
            # Relative to each neuron's own effect.
            np.testing.assert_allclose(effects, want, rtol=1e-5, atol=1e-9)
            assert skipped == (kind != "lstm"), site.name
            assert np.abs(want).max() > 1e-6


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_single_precision_and_every_neuron(kind):
    model = tiny.loaded(kind)
    site = find_sites(model, ["mlp"])[1]
    units, effects, _ = scanned(model, (IDS, MASK), site.name, weighed, rows=40)
    assert units.tolist() == list(range(site.width))
    want = looped(model, site, units)
    assert np.abs(effects - want).max() <= 1e-5 * np.abs(want).max()


def test_what_lies_below_is_run_once_and_memory_is_bounded():
    model = double("gpt2")
    site = find_sites(model, ["mlp"])[2]
    below: list[int] = []
    above: list[int] = []
    block: Any = model.h[0].attn.c_proj
    handles = [
        block.register_forward_hook(lambda m, a, out: below.append(len(out))),
        model.ln_f.register_forward_hook(lambda m, a, out: above.append(len(out))),
    ]
    list(scan(model, (IDS, MASK), site, weighed, rows=10))
    full = [3, 6]  # the first pass, and the whole one of the trial
    assert below == full
    # 40 neurons by threes, and the last alone; the trial from the site on.
    assert above == [3, 6, 6] + [9] * 13 + [3]
    below.clear()
    list(scan(model, (IDS, MASK), site, weighed, rows=10, units=range(6), skip=False))
    assert below == [3, 9, 9]
    for handle in handles:
        handle.remove()


def test_a_scan_goes_on_where_it_stopped():
    model = double("llama")
    going = scan(model, (IDS, MASK), "mlp.2", weighed, rows=30)
    first = next(going)
    # Between chunks the model is as it was.
    assert all("forward" not in m.__dict__ and not m._forward_hooks for m in model.modules())
    going.close()
    left = [unit for unit in range(tiny.MLP) if unit not in first.units]
    units, effects, _ = scanned(model, (IDS, MASK), "mlp.2", weighed, units=left, rows=12)
    _, want, _ = scanned(model, (IDS, MASK), "mlp.2", weighed)
    assert [*first.units, *units] == list(range(tiny.MLP))
    np.testing.assert_allclose(np.concatenate([first.effects, effects]), want, rtol=1e-9)


def test_positions_and_measures_of_variants():
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.folder("gpt2")).double().eval()
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    shapes = []

    def total(out: Any) -> torch.Tensor:
        shapes.append(tuple(out.logits.shape[:2]))
        logits = out.logits[:, -1].reshape(-1, 3, out.logits.shape[-1])
        return (logits[..., 7] - logits[..., 9]).mean(dim=1)

    def words(out: Any) -> torch.Tensor:
        return out.logits[:, -1, [7, 9]]

    options: dict[str, Any] = {"units": range(5), "rows": 9}
    _, all_of_it, _ = scanned(model, inputs, "head.2", total, **options)
    assert {shape[1] for shape in shapes} == {5}
    shapes.clear()
    _, last, skipped = scanned(model, inputs, "head.2", total, positions=-1, **options)
    assert {shape[1] for shape in shapes} == {1}
    assert skipped
    assert last.shape == (5,)
    np.testing.assert_allclose(last, all_of_it, rtol=1e-9)
    _, both, _ = scanned(model, inputs, "head.2", words, positions=[-1], **options)
    assert both.shape == (5, 3, 2)
    np.testing.assert_allclose((both[..., 0] - both[..., 1]).mean(1), last, rtol=1e-7)
    # Where the model has no such argument, its output is cut.
    bare = double("bert")
    _, cut, _ = scanned(bare, inputs, "mlp.2", lambda o: o[0].sum((1, 2)), positions=-1, **options)
    _, full, _ = scanned(bare, inputs, "mlp.2", lambda o: o[0][:, -1].sum(1), **options)
    np.testing.assert_allclose(cut, full, rtol=1e-9)
    # One row.
    one = {name: value[:1] for name, value in inputs.items()}
    _, single, skipped = scanned(model, one, "head.2", words, units=[1, 2], positions=-1)
    assert single.shape == (2, 2)
    assert skipped
    np.testing.assert_allclose(single, both[[1, 2], 0], rtol=1e-7)


class Counting(torch.nn.Linear):
    calls = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(input)


class Sly(torch.nn.Module):
    """Blocks that speak to each other beside the stream: lost, if the first is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(40, 8)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 8), torch.nn.Tanh()
            )
            for _ in range(3)
        )
        first: Any = self.blocks[0]
        first[0] = Counting(8, 16)

    def forward(self, input_ids: torch.Tensor) -> Any:
        x = self.words(input_ids)
        first: Any = self.blocks[0]
        first[0].calls = 0
        for block in self.blocks:
            x = block(x)
        return (x + first[0].calls,)


def test_where_nothing_can_be_skipped_whole_passes_do_it():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Sly().double().eval()
    site = next(s for s in find_sites(model, ["mlp"]) if s.name == "mlp.3")
    _, effects, skipped = scanned(model, (IDS, MASK), site, weighed, units=[1, 2, 3], rows=6)
    assert not skipped
    whole = scanned(model, (IDS, MASK), site, weighed, units=[1, 2, 3], rows=6, skip=False)[1]
    np.testing.assert_allclose(effects, whole, rtol=1e-9)


def test_nothing_is_left_behind_by_errors():
    model = double("gpt2")
    calls = []

    def fails(out: Any) -> torch.Tensor:
        calls.append(len(out[0]))
        if calls[-1] == 9:
            raise KeyboardInterrupt
        return weighed(out)

    with pytest.raises(KeyboardInterrupt):
        list(scan(model, (IDS, MASK), "mlp.2", fails, rows=9))
    boom = iter(range(99))

    def interrupted(m: Any, args: Any) -> None:
        if next(boom) == 3:
            raise KeyboardInterrupt

    handle = model.h[2].register_forward_pre_hook(interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(scan(model, (IDS, MASK), "mlp.2", weighed, rows=9))
    handle.remove()
    for module in model.modules():
        assert "forward" not in module.__dict__
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_what_cannot_be_scanned_or_screened():
    model = double("gpt2")
    cases: list[tuple[dict[str, Any], Any, str]] = [
        ({"units": [40]}, SettingError, "no neuron 40"),
        ({"units": [0.5]}, SettingError, "whole numbers"),
        ({"positions": []}, SettingError, "at least one"),
    ]
    for wrong, kind, message in cases:
        with pytest.raises(kind, match=message):
            list(scan(model, (IDS, MASK), "mlp.2", weighed, **wrong))
    with pytest.raises(SettingError, match="one a row or one a variant"):
        list(scan(model, (IDS, MASK), "mlp.2", lambda out: torch.zeros(2)))
    with pytest.raises(SettingError, match="no tensor"):
        list(scan(model, {}, "mlp.2", weighed))
    with pytest.raises(ModelError, match="fused experts"):
        list(scan(tiny.loaded("mixtral"), (IDS, MASK), "mlp.2", weighed))
    with pytest.raises(SettingError, match=r"lacks site mlp\.3"):
        screen(model, (IDS, MASK), ["mlp.2", "mlp.3"], weighed, target={"mlp.2": np.zeros(40)})
    with pytest.raises(SettingError, match="no gradient"):
        screen(model, (IDS, MASK), "mlp.2", lambda out: weighed(out).detach())
    with pytest.raises(SettingError, match="one in all"):
        screen(model, (IDS, MASK), "mlp.2", lambda out: out[0][:, 0])


def test_screen_is_exact_where_the_read_out_is_linear():
    """Of the last block's units, before any norm, the output is a linear function."""
    model = torch.nn.Sequential(
        torch.nn.Embedding(40, 8), torch.nn.Linear(8, 12), torch.nn.Tanh(), torch.nn.Linear(12, 3)
    ).double()
    target = np.linspace(-1, 1, 12)

    def measure(out: torch.Tensor) -> torch.Tensor:
        return out.sum(1) @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    site = "module.3@input"
    for aim in (0.0, target):
        exact = scanned(model, (IDS, MASK), site, measure, target=aim)[1]
        options: dict[str, Any] = {"target": {site: aim} if isinstance(aim, np.ndarray) else aim}
        found = screen(model, (IDS, MASK), site, measure, **options)[site]
        assert found.shape == (12, 3)
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)
        total = screen(model, (IDS, MASK), [site], lambda out: measure(out).sum(), **options)
        np.testing.assert_allclose(total[site], exact.sum(1), rtol=1e-9)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "t5", "albert", "lstm"])
def test_screen_is_the_derivative_of_the_effect(kind):
    """Scaling a neuron by 1 − ε changes the measure by ε times the screen, to first order."""
    model = double(kind)
    sites = all_sites(model)[0]
    found = screen(model, (IDS, MASK), sites, weighed)
    assert list(found) == [site.name for site in sites]
    step = 1e-2
    with torch.inference_mode():
        for site in sites:
            for unit in (0, site.width - 1):
                ends = []
                for alpha in (1 + step, 1 - step):
                    with edited(model, Edit.scale((site, [unit]), alpha)):
                        ends.append(weighed(run(model, IDS, MASK)))
                slope = (ends[1] - ends[0]) / (2 * step)
                want = found[site.name][unit]
                # Some norms compute in single precision whatever the model's is.
                near = 2e-3 * max(1.0, np.abs(found[site.name]).max())
                np.testing.assert_allclose(slope, want, atol=near, rtol=1e-2)


def test_screen_ranks_as_the_scan_does():
    model = double("gpt2")
    model.h[1].mlp.c_proj.weight *= 0.2  # where single neurons change little, as in life

    def measure(out: Any) -> torch.Tensor:
        return out[0][:, -1] @ torch.linspace(-1, 1, tiny.WIDTH, dtype=torch.float64)

    exact = scanned(model, (IDS, torch.ones_like(IDS)), "mlp.2", measure)[1].mean(1)
    found = screen(model, (IDS, torch.ones_like(IDS)), "mlp.2", measure)["mlp.2"].mean(1)
    assert np.corrcoef(exact, found)[0, 1] > 0.9
    assert not np.allclose(exact, found, rtol=1e-3)


def test_length_before_batch_falls_back():
    """XLNet's stream is length × batch: its outputs cannot be repeated along the first axis."""
    model = double("xlnet")
    site = find_sites(model, ["mlp"])[1]
    _, effects, skipped = scanned(model, (IDS, MASK), site, weighed, units=[1, 2], rows=6)
    assert not skipped
    np.testing.assert_allclose(effects, looped(model, site, [1, 2]), rtol=1e-5)


def test_modules_that_work_in_place():
    class InPlace(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(40, 8)
            self.up, self.down = torch.nn.Linear(8, 12), torch.nn.Linear(12, 8)

        def forward(self, input_ids: torch.Tensor) -> Any:
            x = self.words(input_ids)
            out = self.down(self.up(x).tanh_())
            out += x
            return (out.mul_(2),)

    model = InPlace().double().eval().requires_grad_(False)
    site = "module.down@input"
    _, effects, skipped = scanned(model, (IDS, MASK), site, weighed, units=[1, 2], rows=6)
    _, whole, _ = scanned(model, (IDS, MASK), site, weighed, units=[1, 2], skip=False)
    assert skipped
    np.testing.assert_allclose(effects, whole, rtol=1e-9)


def test_a_pass_too_large_for_the_device_is_halved():
    model = double("gpt2")
    site = find_sites(model, ["mlp"])[1]
    _, want, _ = scanned(model, (IDS, MASK), site, weighed)
    seen = []

    def narrow(out: Any) -> torch.Tensor:
        seen.append(len(out[0]))
        if len(out[0]) > 3 * len(IDS):
            raise torch.OutOfMemoryError("made up")
        return weighed(out)

    units, effects, _ = scanned(model, (IDS, MASK), site, narrow, rows=8 * len(IDS))
    np.testing.assert_array_equal(units, np.arange(site.width))
    np.testing.assert_allclose(effects, want, rtol=1e-9, atol=1e-12)
    assert max(seen) == 8 * len(IDS)
    assert seen[-2:] == [2 * len(IDS)] * 2

    def never(out: Any) -> torch.Tensor:
        seen.append(len(out[0]))
        if len(seen) > 1:
            raise torch.OutOfMemoryError("made up")
        return weighed(out)

    seen.clear()
    with pytest.raises(torch.OutOfMemoryError):
        list(scan(model, (IDS, MASK), site, never, rows=4 * len(IDS)))
    assert seen[-1] == len(IDS)
