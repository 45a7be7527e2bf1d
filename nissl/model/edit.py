"""Edits: neurons changed inside the running model, and everything as before afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from nissl.errors import ModelError, SettingError
from nissl.model._edit_change import Edits, Operation, Rule
from nissl.model._edit_hooks import changed, paused, root_of
from nissl.model._edit_moment import one_text
from nissl.model._edit_neurons import Target, check_range
from nissl.model._edit_spec import Edit
from nissl.model.resolve import resolve_sites
from nissl.model.sites import torch_module
from nissl.site import Site

__all__ = ["Edit", "edited", "one_text", "paused", "site_of"]


@contextlib.contextmanager
def edited(model: Any, *edits: Edit) -> Iterator[None]:
    """Run a model with neurons changed: every pass in the block goes on with the new values.

    Edits of one site are done in the order given. No weight is touched, and all hooks are gone
    when the block ends, however it ends; a :func:`~nissl.model.capture` that is opened inside the
    block sees the new values. Edits that change nothing leave no hook. States of recurrent layers
    are changed within the recurrence: the layers are run again, step by step, and the next step
    goes on with the new state; ``hidden.i`` is there the state that leaves layer i, and the same
    place as ``state.hidden.i``.

    Parameters
    ----------
    model
        A :class:`~nissl.model.LoadedModel` or a torch module, in any precision.

    Raises
    ------
    SettingError
        An unknown site or neuron; in a pass, values, positions or masks that do not fit it.
    ModelError
        A site that cannot be edited; a compiled model; at the end of the block, a site that no
        pass has come to.
    """
    root = root_of(torch_module(model))
    operations: dict[Site, list[Operation]] = {}
    everywhere = True
    for edit in edits:
        for target in edit.targets:
            site = site_of(model, target.site)
            check_range(site.name, target.units, site.width)
            if edit.idle or not target.units.size:
                continue
            plain = edit.where.everywhere and (edit.values.dim() < 3)
            everywhere = everywhere and plain
            operations.setdefault(site, []).append(_rule(edit, target))
    if not operations:
        yield
        return
    change = Edits({site: tuple(each) for site, each in operations.items()})
    with changed(root, list(operations), change, everywhere=everywhere) as moment:
        yield
        missed = [site.name for site in operations if site not in change.reached]
        if moment.finished and missed:
            raise ModelError(
                f"the edit of {', '.join(missed)} never took place: no pass came to its module; "
                "does the model run it as a part of something fused?"
            )


def _rule(edit: Edit, target: Target) -> Rule:
    import torch

    def own(values: Any) -> Any:
        places = torch.as_tensor(target.places)
        return None if values is None else values[..., places.to(values.device)]

    return Rule(edit.how, target.units, own(edit.values), edit.where, own(edit.high), edit.seed)


_KNOWN: WeakKeyDictionary[Any, dict[str, Site]] = WeakKeyDictionary()


def site_of(model: Any, site: str | Site) -> Site:
    """Return the site of a name; looked up once a model, for a trial pass finds it.

    Raises
    ------
    SettingError
        No site, or several, are so named.
    """
    if isinstance(site, Site):
        return site
    known = _KNOWN.setdefault(torch_module(model), {})
    if site not in known:
        with paused():
            found = resolve_sites(model, site)
        if len(found) != 1 or found[0].name != site:
            names = ", ".join(each.name for each in found[:3])
            raise SettingError(f'"{site}" is no single site but stands for {names}…; name one')
        known[site] = found[0]
    return known[site]
