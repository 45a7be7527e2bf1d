"""Edits inside torch's recurrent layers: the changed state is what the next step goes on with."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nissl.errors import ModelError, SettingError
from nissl.model import Edit, edited, find_sites, run

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0], [9, 8, 7, 6, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


class Reader(nn.Module):
    """Words, recurrent layers, and both their outputs and their last states."""

    def __init__(self, kind: str = "LSTM", **options: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        made: Any = getattr(nn, kind)(6, 5, batch_first=True, **options)
        self.layers = made
        self.packs = False

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
        x = self.words(ids)
        if self.packs and mask is not None:
            given = pack_padded_sequence(
                x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
            )
            out, last = self.layers(given)
            out = pad_packed_sequence(out, batch_first=True, total_length=ids.shape[1])[0]
        else:
            out, last = self.layers(x)
        states = last if isinstance(last, tuple) else (last,)
        return (out, *states)


def reader(kind: str = "LSTM", **options: Any) -> Reader:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Reader(kind, **options)
        for value in model.parameters():
            value.data = torch.randn_like(value) * 0.7
    return model.eval().requires_grad_(False)


def by_cells(
    model: Reader, ids: torch.Tensor, change: Any
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run one sentence with torch's cells; ``change(layer, step, state)`` after each."""
    values = model.words(ids)[None]
    layers = model.layers
    ends = []
    for layer in range(layers.num_layers):
        made: Any = getattr(nn, f"{layers.mode.split('_')[0]}Cell")
        cell = made(values.shape[2], layers.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(layers, f"{name}_l{layer}").data
        state: Any = None
        rows = []
        for step in range(values.shape[1]):
            state = cell(values[:, step], state)
            state = change(layer, step, state)
            rows.append(state[0] if isinstance(state, tuple) else state)
        values = torch.stack(rows, dim=1)
        ends.append(rows[-1])
    return values[0], ends


def set_hidden(state: Any, units: list[int], value: float) -> Any:
    hidden = (state[0] if isinstance(state, tuple) else state).clone()
    hidden[:, units] = value
    return (hidden, state[1]) if isinstance(state, tuple) else hidden


@pytest.mark.parametrize("name", ["state.hidden", "hidden"])
@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_hidden_states_against_cells(kind, layer, name):
    model = reader(kind, num_layers=2)
    edit = Edit.set((f"{name}.{layer}", [3, 0]), 0.4)
    at = Edit.set((f"{name}.{layer}", [3, 0]), 0.4, positions=[1, 2])
    for used, steps in ((edit, range(9)), (at, (1, 2))):
        with torch.inference_mode(), edited(model, used):
            out, last, *_ = run(model, IDS, MASK)
        for row, length in enumerate(MASK.sum(1).tolist()):

            def change(number: int, step: int, state: Any, steps: Any = steps) -> Any:
                if number == layer - 1 and step in steps:
                    return set_hidden(state, [3, 0], 0.4)
                return state

            with torch.no_grad():
                want, ends = by_cells(model, IDS[row, :length], change)
            torch.testing.assert_close(out[row, :length], want)
            torch.testing.assert_close(last[:, row], torch.cat(ends))
            assert not out[row, length:].any()


def test_zeroing_a_state_is_as_if_nothing_led_out_of_it():
    """Of one layer: no weight back from the unit, and 0 in the output."""
    for kind in ("LSTM", "RNN"):
        model = reader(kind)
        other = copy.deepcopy(model)
        other.layers.weight_hh_l0.data[:, 2] = 0
        with torch.inference_mode():
            want = run(other, IDS, MASK)[0].clone()
            want[..., 2] = 0
            with edited(model, Edit.zero("hidden.1:2")):
                found = run(model, IDS, MASK)[0]
        torch.testing.assert_close(found, want)


def test_a_cell_is_kept_by_its_gates():
    """With input and forget gates 0 a cell is 0; with 1 and 0 it is what came in."""
    model = reader()

    def out(*edits: Edit) -> torch.Tensor:
        with torch.inference_mode(), edited(model, *edits):
            return run(model, IDS, MASK)[0].clone()

    cell = out(Edit.zero("state.cell.1:1"))
    assert torch.equal(
        cell, out(Edit.zero("state.input_gate.1:1"), Edit.zero("state.forget_gate.1:1"))
    )
    assert not cell[..., 1].any()
    assert float((cell - out()).abs().max()) > 1e-3
    # A unit that always forgets is another than one whose cell is nothing.
    assert not torch.equal(cell, out(Edit.zero("state.forget_gate.1:1")))
    # h = o · tanh(c): 0.5 · tanh(2).
    both = out(Edit.set("state.cell.1:1", 2.0), Edit.set("state.output_gate.1:1", 0.5))
    real = MASK.bool()
    assert torch.allclose(both[..., 1][real], 0.5 * torch.tensor(2.0).tanh())


def test_both_directions():
    model = reader(bidirectional=True)
    with torch.inference_mode():
        plain = run(model, IDS, MASK)[0].clone()
        with edited(model, Edit.set("hidden.1:7", 0.3, positions=[1])):
            out, last, _ = run(model, IDS, MASK)
        changed = (out - plain).abs() > 1e-6
    assert torch.allclose(out[:, 1, 7], torch.tensor(0.3))
    # Unit 7 is of the backward direction: it reads from the right, so only what lies left of
    # position 1, and position 1 itself, can change, in that direction alone.
    assert not changed[..., :5].any()
    assert not changed[:, 2:].any()
    assert changed[:, 0, 5:].any(dim=1).all()
    torch.testing.assert_close(last[1], out[:, 0, 5:])


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
def test_packed_by_the_model_or_by_us_is_the_same(options):
    model = reader(**options)
    edit = Edit.scale(("state.hidden.1", [1, 4]), 2.0)
    with torch.inference_mode(), edited(model, edit):
        ours = [value.clone() for value in run(model, IDS, MASK)]
        model.packs = True
        theirs = model(IDS, mask=MASK)
        alone = [model(IDS[i : i + 1, :n], None)[0] for i, n in ((1, 3), (2, 4))]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(ours[0][1:2, :3], alone[0])
    torch.testing.assert_close(ours[0][2:3, :4], alone[1])


def test_other_forms_of_the_layers():
    folded = reader(proj_size=3)
    with torch.inference_mode(), edited(folded, Edit.set("hidden.1:2", 0.7)):
        assert (run(folded, IDS, MASK)[0][..., 2][MASK.bool()] == 0.7).all()
    bare = nn.GRU(4, 3).eval().requires_grad_(False)  # length first, and no batch
    with torch.inference_mode():
        for given in (torch.randn((5, 2, 4)), torch.randn((5, 4))):
            plain = [value.clone() for value in bare(given)]
            with edited(bare, Edit.scale("hidden.1:1", 1.5, positions=[4])):
                out, last = bare(given)
            assert out.shape == plain[0].shape
            assert last.shape == plain[1].shape
            torch.testing.assert_close(out[4, ..., 1], 1.5 * plain[0][4, ..., 1])
            torch.testing.assert_close(out[:4], plain[0][:4])
            torch.testing.assert_close(last[0, ..., 1], out[4, ..., 1])
            start = torch.randn_like(plain[1])
            with edited(bare, Edit.scale("hidden.1:1", 1.0 + 1e-9)):
                torch.testing.assert_close(bare(given, start)[0], bare(given, start)[0])


def test_what_enters_the_first_layer():
    model = reader()
    with torch.inference_mode(), edited(model, Edit.zero(("hidden.0", range(6)), sentences=[1])):
        found = run(model, IDS, MASK)[0].clone()
    other = copy.deepcopy(model)
    other.words.weight.data[[10, 11, 12]] = 0
    with torch.inference_mode():
        torch.testing.assert_close(found[1], run(other, IDS, MASK)[0][1])
        torch.testing.assert_close(found[[0, 2]], run(model, IDS, MASK)[0][[0, 2]])


def test_untouched_afterwards_and_refusals():
    model = reader(num_layers=2, dropout=0.5)
    before = run(model, IDS, MASK)[0]
    with edited(model, Edit.zero("hidden.1:1")):
        run(model, IDS, MASK)
    assert torch.equal(run(model, IDS, MASK)[0], before)
    with pytest.raises(ModelError, match="evaluation"), edited(model, Edit.zero("hidden.1:1")):
        run(model.train(), IDS, MASK)
    model.eval()
    with (
        pytest.raises(ModelError, match="hidden or state"),
        edited(model, Edit.zero("module.layers:1")),
    ):
        pass
    model.packs = True
    with pytest.raises(ModelError, match="packed"), edited(model, Edit.zero("hidden.0:1")):
        model(IDS, mask=MASK)
    with pytest.raises(SettingError, match="no neuron 5"), edited(model, Edit.zero("hidden.1:5")):
        pass
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_layers_called_step_by_step():
    class Stepper(Reader):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
            state, rows = None, []
            for step in range(ids.shape[1]):
                out, state = self.layers(self.words(ids[:, step : step + 1]), state)
                rows.append(out)
            return (torch.cat(rows, dim=1),)

    plain = reader()
    model = Stepper()
    model.load_state_dict(plain.state_dict())
    site = next(site for site in find_sites(plain) if site.name == "hidden.1")
    with torch.inference_mode(), edited(model.eval(), Edit.scale((site, [2]), 0.5)):
        found = model(IDS)[0].clone()
        with edited(plain, Edit.scale((site, [2]), 0.5)):
            torch.testing.assert_close(found, plain(IDS)[0])
    edit = Edit.zero((site, [2]), positions=[0])
    with pytest.raises(ModelError, match="step by step"), edited(model, edit):
        model(IDS)


def test_positions_and_masks_of_padded_sentences():
    model = reader()
    wide = torch.nn.functional.pad(IDS, (0, 2))
    full = torch.nn.functional.pad(MASK, (0, 2))
    last = torch.zeros((3, 7), dtype=torch.bool)
    last[torch.arange(3), MASK.sum(1) - 1] = True
    with torch.inference_mode():
        plain = run(model, wide, full)[0].clone()
        for where in ({"positions": -1}, {"mask": last}):
            with edited(model, Edit.set("hidden.1:2", 0.6, **where)):
                found = run(model, wide, full)[0]
            assert (found[..., 2][last] == 0.6).all()
            torch.testing.assert_close(found[~last], plain[~last])
