"""States and gates of torch's recurrent layers, against loops over single cells."""

from __future__ import annotations

import itertools

import pytest
import tiny_models as tiny
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nissl.errors import ModelError
from nissl.model import all_sites, capture, find_sites, resolve_sites, run, wrap_model

GATES = {
    "LSTM": ("cell", "input_gate", "forget_gate", "cell_gate", "output_gate"),
    "GRU": ("reset_gate", "update_gate", "new_gate"),
    "RNN": (),
}


def cell_of(layers: torch.nn.RNNBase, layer: int, way: int) -> torch.nn.Module:
    """A single cell of torch with the weights of one layer in one direction."""
    suffix = f"l{layer}" + "_reverse" * way
    names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * layers.bias
    kind = type(layers).__name__
    make = getattr(torch.nn, f"{kind}Cell")
    given = getattr(layers, f"weight_ih_{suffix}").shape[1]
    more = {"nonlinearity": layers.nonlinearity} if kind == "RNN" else {}
    cell = make(given, layers.hidden_size, bias=layers.bias, **more)
    for name in names:
        getattr(cell, name).data = getattr(layers, f"{name}_{suffix}").data
    return cell


def by_hand(layers: torch.nn.RNNBase, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Each layer's hidden and cell states for one sentence (length, width), step by step."""
    found = []
    for layer in range(layers.num_layers):
        sides = []
        for way in range(1 + layers.bidirectional):
            cell, state = cell_of(layers, layer, way), None
            steps = range(len(x))[::-1] if way else range(len(x))
            rows: dict[int, torch.Tensor] = {}
            cells: dict[int, torch.Tensor] = {}
            for t in steps:
                state = cell(x[t : t + 1], state)
                rows[t] = (state[0] if isinstance(state, tuple) else state)[0]
                if isinstance(state, tuple):
                    cells[t] = state[1][0]
            side = {"hidden": torch.stack([rows[t] for t in range(len(x))])}
            if cells:
                side["cell"] = torch.stack([cells[t] for t in range(len(x))])
            sides.append(side)
        both = {part: torch.cat([side[part] for side in sides], dim=1) for part in sides[0]}
        found.append(both)
        x = both["hidden"]
    return found


class Tagger(torch.nn.Module):
    """Words → recurrent layers → tags; packs its input or not."""

    def __init__(self, kind="LSTM", packs=False, batch_first=True, **options):
        super().__init__()
        self.word = torch.nn.Embedding(130, 7)
        self.rnn = getattr(torch.nn, kind)(7, 5, batch_first=batch_first, **options)
        self.top = torch.nn.LazyLinear(4)
        self.packs = packs
        for value in self.rnn.parameters():
            torch.nn.init.normal_(value, std=0.6)

    def forward(self, input_ids, attention_mask=None):
        x = self.word(input_ids)
        if not self.rnn.batch_first:
            x = x.transpose(0, 1)
        if self.packs:
            lengths = attention_mask.sum(1).cpu() if attention_mask is not None else [3, 3]
            x = pack_padded_sequence(
                x, lengths, batch_first=self.rnn.batch_first, enforce_sorted=False
            )
        x = self.rnn(x)[0]
        if self.packs:
            x, _ = pad_packed_sequence(x, batch_first=self.rnn.batch_first)
        return self.top(x)


def made(*args, **options) -> Tagger:
    torch.manual_seed(3)
    model = Tagger(*args, **options)
    model(torch.zeros((2, 3), dtype=torch.long), torch.ones((2, 3), dtype=torch.long))
    return model.eval()


ROWS = [[5, 6, 7], [8, 9, 10, 11, 12], [13], [14, 15, 16, 17]]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(
    ("packs", "batch_first", "bias"),
    [(False, True, True), (False, False, True), (True, True, False), (True, False, True)],
)
def test_states_equal_a_loop_over_cells(kind, ways, packs, batch_first, bias):
    model = made(kind, packs, batch_first, num_layers=2, bidirectional=ways == 2, bias=bias)
    sites, why = all_sites(model)
    width = 5 * ways
    assert [site.name for site in sites] == [
        *("hidden.0", "hidden.1", "hidden.2"),
        *(f"state.{part}.{i}" for part in ("hidden", *GATES[kind]) for i in (1, 2)),
    ]
    assert {site.width for site in sites[1:]} == {width}
    assert sites[0].width == 7
    assert set(why) == {"mlp", "head"}
    # One step more of padding than any sentence needs.
    ids, mask = tiny.ids_of(ROWS, extra=0 if packs else 1)
    with torch.no_grad(), capture(model, sites, keep=lambda s, t: t.clone()) as seen:
        run(model, ids, mask)
        got = dict(seen)
        for i, row in enumerate(ROWS):
            x = model.word(torch.tensor(row))
            torch.testing.assert_close(got["hidden.0"][i, : len(row)], x)
            for layer, want in enumerate(by_hand(model.rnn, x), start=1):
                for part, values in want.items():
                    near = {"rtol": 1e-5, "atol": 1e-6}
                    mine = got[f"state.{part}.{layer}"][i]
                    torch.testing.assert_close(mine[: len(row)], values, **near)
                    assert mine.shape == (ids.shape[1], width)
                    assert not mine[len(row) :].any()
                torch.testing.assert_close(
                    got[f"hidden.{layer}"][i, : len(row)], want["hidden"], **near
                )


def test_gates_make_the_states():
    model = made("LSTM", num_layers=2, bidirectional=True)
    ids, mask = tiny.ids_of([ROWS[1]])
    sites = find_sites(model, ["state"])
    with torch.no_grad(), capture(model, sites) as seen:
        run(model, ids, mask)
        for layer in (1, 2):
            s = {part: seen[f"state.{part}.{layer}"][0] for part in ("hidden", *GATES["LSTM"])}
            ahead, back = s["cell"][:, :5], s["cell"][:, 5:]
            zero = torch.zeros((1, 5))
            before = torch.cat([torch.cat([zero, ahead[:-1]]), torch.cat([back[1:], zero])], dim=1)
            cell = s["forget_gate"] * before + s["input_gate"] * s["cell_gate"]
            torch.testing.assert_close(s["cell"], cell)
            torch.testing.assert_close(s["hidden"], s["output_gate"] * cell.tanh())
            for gate in ("input_gate", "forget_gate", "output_gate"):
                assert 0 < float(s[gate].min()) < float(s[gate].max()) < 1
    model = made("GRU")
    sites = find_sites(model, ["state"])
    with torch.no_grad(), capture(model, sites) as seen:
        run(model, ids, mask)
        s = {part: seen[f"state.{part}.1"][0] for part in ("hidden", *GATES["GRU"])}
        before = torch.cat([torch.zeros((1, 5)), s["hidden"][:-1]])
        z = s["update_gate"]
        torch.testing.assert_close(s["hidden"], (1 - z) * s["new_gate"] + z * before)


def test_unpacked_padding_changes_the_plain_model_but_not_a_run():
    """The reverse direction starts in the padding, unless it is kept out."""
    model = made("LSTM", bidirectional=True)
    ids, mask = tiny.ids_of(ROWS)
    sites = find_sites(model)
    with torch.no_grad(), capture(model, sites, keep=lambda s, t: t.clone()) as seen:
        model(ids)
        plain = seen["hidden.1"]
        run(model, ids, mask)
        good = seen["hidden.1"]
        want = by_hand(model.rnn, model.word(torch.tensor(ROWS[0])))[0]["hidden"]
    torch.testing.assert_close(good[0, :3], want)
    assert float((plain[0, :3] - want).abs().max()) > 0.01
    # What the model goes on with is the padded tensor that it expects.
    with torch.no_grad():
        assert run(model, ids, mask).shape == (4, 5, 4)


def test_projections_first_states_and_bare_layers():
    torch.manual_seed(0)
    layers = torch.nn.LSTM(6, 5, num_layers=2, bidirectional=True, proj_size=3).eval()
    sites = find_sites(layers, ["hidden", "state"])
    assert {s.name: s.width for s in sites if s.layer == 2} == {
        "hidden.2": 6,
        "state.hidden.2": 6,
        **{f"state.{part}.2": 10 for part in GATES["LSTM"]},
    }
    x = torch.randn(4, 3, 6)
    start = (torch.randn(4, 3, 3), torch.randn(4, 3, 5))
    with torch.no_grad(), capture(layers, sites) as seen:
        out, (last, cell) = layers(x, start)
        assert torch.equal(seen["hidden.2"], out.transpose(0, 1))
        near = {"rtol": 1e-5, "atol": 1e-6}
        for layer in (1, 2):
            states, cells = seen[f"state.hidden.{layer}"], seen[f"state.cell.{layer}"]
            torch.testing.assert_close(states[:, -1, :3], last[2 * layer - 2], **near)
            torch.testing.assert_close(states[:, 0, 3:], last[2 * layer - 1], **near)
            torch.testing.assert_close(cells[:, -1, :5], cell[2 * layer - 2], **near)
            torch.testing.assert_close(cells[:, 0, 5:], cell[2 * layer - 1], **near)
        # One sequence without a batch.
        layers(input=x[:, 0])
        assert seen["state.cell.1"].shape == (1, 4, 10)


def test_layers_are_counted_through_modules_in_a_row():
    class Row(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word = torch.nn.Embedding(30, 4)
            self.a = torch.nn.LSTM(4, 3, num_layers=2, batch_first=True)
            self.b = torch.nn.GRU(3, 6, batch_first=True, bidirectional=True)

        def forward(self, ids):
            return self.b(self.a(self.word(ids))[0])[0]

    model = Row().eval()
    sites = all_sites(model)[0]
    names = [site.name for site in sites]
    assert names[:4] == ["hidden.0", "hidden.1", "hidden.2", "hidden.3"]
    assert [site.width for site in sites[:4]] == [4, 3, 3, 12]
    assert {"state.hidden.3", "state.cell.2", "state.reset_gate.3"} <= set(names)
    assert not {"state.cell.3", "state.reset_gate.2"} & set(names)
    ids, mask = tiny.ids_of([[3, 4, 5], [6, 7]])
    with torch.no_grad(), capture(model, sites, keep=lambda s, t: t.clone()) as seen:
        out = run(model, ids, mask)
        assert torch.equal(seen["hidden.3"], out)
        a = by_hand(model.a, model.word(ids[1, :2]))
        b = by_hand(model.b, a[1]["hidden"])
        torch.testing.assert_close(seen["hidden.1"][1, :2], a[0]["hidden"])
        torch.testing.assert_close(seen["state.hidden.3"][1, :2], b[0]["hidden"])
    assert [s.name for s in resolve_sites(model, ["state.cell"])] == [
        "state.cell.1",
        "state.cell.2",
    ]


def test_arguments_by_name():
    class Lengths(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.rnn = torch.nn.Embedding(30, 4), torch.nn.LSTM(4, 3, batch_first=True)

        def forward(self, words, lengths):
            packed = pack_padded_sequence(
                self.word(words), lengths, batch_first=True, enforce_sorted=False
            )
            return self.rnn(packed)[0].data

    model = wrap_model(Lengths(), tiny.tokenizer("bert"), name="lengths", max_length=40)
    assert (model.spec, model.max_length, model.dtype, model.device) == (
        None,
        40,
        "float32",
        "cpu",
    )
    ids, mask = tiny.ids_of([[3, 4], [5, 6, 7]], extra=2)
    sites = find_sites(model)
    with torch.no_grad(), capture(model, sites) as seen:
        run(model, ids, mask)
        assert seen["hidden.1"].shape == (2, 5, 3)  # as long as the pass, though packed is shorter
        want = by_hand(model.model.rnn, model.model.word(ids[0, :2]))[0]["hidden"]
        torch.testing.assert_close(seen["hidden.1"][0, :2], want)
        torch.testing.assert_close(seen["hidden.0"][1, :3], model.model.word(ids[1, :3]))


def test_training_mode_is_refused():
    model = made("LSTM", num_layers=2, dropout=0.9).train()
    sites = find_sites(made("LSTM", num_layers=2, dropout=0.9), ["state"])
    ids, mask = tiny.ids_of(ROWS)
    with (
        pytest.raises(ModelError, match=r"evaluation mode \(model.eval\(\)\)"),
        capture(model, sites),
    ):
        run(model, ids, mask)


def test_half_precision_and_stop():
    model = made("LSTM", num_layers=2).to(torch.bfloat16)
    ids, mask = tiny.ids_of(ROWS)
    sites = find_sites(model, ["state"])
    with torch.no_grad(), capture(model, sites, stop=True) as seen:
        assert run(model, ids, mask) is None
        assert set(seen) == {site.name for site in sites}
        assert seen["state.cell.2"].dtype == torch.bfloat16
    assert not any(
        itertools.chain.from_iterable(
            (m._forward_hooks, m._forward_pre_hooks) for m in model.modules()
        )
    )


def test_layers_that_run_step_by_step_are_refused():
    class Steps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.rnn = torch.nn.Embedding(30, 4), torch.nn.GRU(4, 3, batch_first=True)

        def forward(self, ids):
            state = None
            for t in range(ids.shape[1]):
                out, state = self.rnn(self.word(ids[:, t : t + 1]), state)
            return out

    model = Steps().eval()
    sites = find_sites(model)
    with (
        pytest.raises(ModelError, match="rnn runs several times in one pass"),
        capture(model, sites),
    ):
        run(model, *tiny.ids_of(ROWS))
    assert not model.rnn._forward_hooks


def test_packed_first_states_are_in_the_order_of_the_batch():
    torch.manual_seed(1)
    layers = torch.nn.GRU(6, 5, bidirectional=True, batch_first=True).eval()
    x, start = torch.randn(3, 4, 6), torch.randn(2, 3, 5)
    lengths = [2, 4, 3]
    sites = find_sites(layers, ["hidden", "state"])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad(), capture(layers, sites, keep=lambda s, t: t.clone()) as seen:
        layers(packed, start)
        many = dict(seen)
        for i, n in enumerate(lengths):
            out, _ = layers(x[i : i + 1, :n], start[:, i : i + 1])
            for name, values in many.items():
                torch.testing.assert_close(values[i, :n], seen[name][0])
            torch.testing.assert_close(many["hidden.1"][i, :n], out[0])
