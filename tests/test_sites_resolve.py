"""What a user writes for sites."""

from __future__ import annotations

import pytest
import tiny_models as tiny
import torch

from nissl.errors import ModelError, SettingError
from nissl.model import Site, all_sites, capture, resolve_sites, run


def names(kind, *wanted):
    return [site.name for site in resolve_sites(tiny.loaded(kind), wanted)]


def test_kinds_stacks_prefixes_names():
    assert names("bert", "hidden") == [f"hidden.{i}" for i in range(4)]
    assert names("bert", "mlp.2", "hidden.0") == ["mlp.2", "hidden.0"]
    assert names("t5", "decoder.hidden") == ["decoder.hidden.0", "decoder.hidden.1"]
    assert names("t5", "mlp") == [*(f"encoder.mlp.{i}" for i in (1, 2, 3)), "decoder.mlp.1"]
    assert names("t5", "decoder") == [
        *("decoder.hidden.0", "decoder.hidden.1", "decoder.mlp.1", "decoder.head.1"),
    ]
    assert names("t5", "encoder.head.2") == ["encoder.head.2"]
    assert [s.name for s in resolve_sites(tiny.loaded("bert"), "hidden.2")] == ["hidden.2"]


def test_each_once_in_the_order_given():
    loaded = tiny.loaded("bert")
    last = resolve_sites(loaded, "hidden.3")[0]
    found = resolve_sites(loaded, [last, "hidden.1", "hidden", "mlp.1", last])
    assert [s.name for s in found] == ["hidden.3", "hidden.1", "hidden.0", "hidden.2", "mlp.1"]
    assert resolve_sites(loaded, last) == (last,)
    assert resolve_sites(loaded, [x.name for x in all_sites(loaded)[0]]) == all_sites(loaded)[0]


@pytest.mark.parametrize(
    ("kind", "wanted", "message"),
    [
        ("bert", ["hiden"], r'no kind of site "hiden".*Did you mean "hidden"'),
        ("bert", ["hidden.9"], r'the model has no site "hidden.9".*Did you mean "hidden'),
        ("bert", ["encoder"], r'the model has no site "encoder"'),
        ("bert", ["hidden.3."], r'the model has no site "hidden.3."'),
        ("t5", ["decoder.hiden"], r'no site "decoder.hiden".*Did you mean "decoder.hidden'),
        ("t5", ["hidden.1"], r'no site "hidden.1".*Did you mean "encoder.hidden.1"'),
        ("bert", [], "name at least one kind of site, such as hidden"),
        ("bert", ["module.pooler.dens"], r'no site "module.pooler.dens".*"module.pooler.dense"'),
        ("bert", ["module.pooler@side"], r"give module.PATH or module.PATH@input"),
    ],
)
def test_unknown(kind, wanted, message):
    with pytest.raises(SettingError, match=message):
        resolve_sites(tiny.loaded(kind), wanted)


def test_kind_that_the_architecture_lacks_says_why():
    with pytest.raises(ModelError, match=r"no head site in block layer.0.*ff.layer_1 \(16→40\)"):
        resolve_sites(tiny.loaded("xlnet"), ["hidden", "head"])
    with pytest.raises(ModelError, match=r"only recurrent layers .* have states"):
        resolve_sites(tiny.loaded("bert"), ["state.cell"])


def test_any_module_by_name():
    loaded = tiny.loaded("bert")
    path = "encoder.layer.0.attention.output"
    wanted = [f"module.{path}", "module.encoder.layer.1.output@input", "mlp.2", "module.pooler"]
    sites = resolve_sites(loaded, wanted)
    assert sites[0] == Site("module", 0, path, "output", tiny.WIDTH)
    assert [site.name for site in sites] == wanted
    assert [site.width for site in sites] == [16, 40, 40, 16]
    ids, mask = tiny.ids_of([[5, 6, 7], [8, 9]])
    outs = []
    handle = loaded.model.get_submodule(path).register_forward_hook(
        lambda m, a, out: outs.append(out.clone())
    )
    with torch.inference_mode(), capture(loaded, sites) as seen:
        run(loaded, ids, mask)
        handle.remove()
        assert torch.equal(seen[f"module.{path}"], outs[0])
        assert torch.equal(seen["module.encoder.layer.1.output@input"], seen["mlp.2"])
        assert seen["module.pooler"].shape == (2, 16)  # has no length


def test_module_that_flattens_tokens_is_reshaped():
    loaded = tiny.loaded("qwen2-moe")
    site = resolve_sites(loaded, "module.layers.1.mlp.shared_expert.down_proj@input")[0]
    ids, mask = tiny.ids_of([[5, 6, 7], [8, 9]])
    with torch.inference_mode(), capture(loaded, [site]) as seen:
        run(loaded, ids, mask)
        assert seen[site.name].shape == (2, 3, 20)


def test_module_that_does_not_run():
    class Idle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.idle = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4)

        def forward(self, ids):
            return self.word(ids)

    model = Idle()
    assert resolve_sites(model, "module.word")[0].width == 4
    with pytest.raises(ModelError, match="idle did not run in a trial forward pass"):
        resolve_sites(model, ["module.idle"])
