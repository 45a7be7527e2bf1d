"""Sites from what a user wrote: kinds, stacks, prefixes, full names, any module by its path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from nissl.errors import ModelError, SettingError, did_you_mean
from nissl.model.sites import KINDS, all_sites, find_sites, torch_module
from nissl.model.trace import find_input, first_tensor
from nissl.model.trial import trial
from nissl.site import Site

__all__ = ["resolve_sites"]

STACKS = ("encoder", "decoder")


def resolve_sites(model: Any, wanted: str | Site | Sequence[str | Site]) -> tuple[Site, ...]:
    """Return the sites that are meant, each once, in the order given.

    Parameters
    ----------
    model
        A :class:`~nissl.model.LoadedModel` or a torch module.
    wanted
        Each a site; a kind (``hidden``: of every stack); a stack (``decoder``: all its sites); the
        beginning of names up to a dot (``decoder.hidden``, ``state.cell``); a full name
        (``hidden.3``); or ``module.PATH``, the output of the torch module at that path, with
        ``@input`` after it for its input.

    Raises
    ------
    SettingError
        Nothing is named, or something that the model does not have.
    ModelError
        The model has no sites of a kind; says what was tried.
    """
    items: list[str | Site] = [wanted] if isinstance(wanted, str | Site) else list(wanted)
    if not items:
        raise SettingError("name at least one kind of site, such as hidden")
    texts = [item for item in items if isinstance(item, str)]
    paths = [text for text in texts if text.startswith("module.")]
    plain = [text for text in texts if not text.startswith("module.")]
    known, missing = _known(model, plain)
    named = _modules(model, paths)
    chosen: dict[str, Site] = {}
    for item in items:
        if isinstance(item, Site):
            found = [item]
        elif item in named:
            found = [named[item]]
        else:
            found = [
                site
                for site in known
                if item in (site.kind, site.name) or site.name.startswith(f"{item}.")
            ]
        if not found:
            assert isinstance(item, str)
            kind = next((kind for kind in missing if kind in item.split(".")), None)
            if kind:
                raise ModelError(missing[kind])
            names = [*KINDS, *(site.stack for site in known if site.stack)]
            names += [*(site.group for site in known), *(site.name for site in known)]
            # Of two stacks, a name without its stack is nearest to the same name with it.
            nearest = [name for name in names if name.endswith(f".{item}")] or names
            raise SettingError(f'the model has no site "{item}".{did_you_mean(item, nearest)}')
        chosen.update((site.name, site) for site in found)
    return tuple(chosen.values())


def _known(model: Any, texts: Sequence[str]) -> tuple[tuple[Site, ...], dict[str, str]]:
    """Return the sites that texts may mean, and the kinds that the model lacks."""
    if not texts:
        return (), {}
    first = dict.fromkeys(text.partition(".")[0] for text in texts)
    wrong = next((word for word in first if word not in KINDS + STACKS), None)
    if wrong is not None:
        options = [*KINDS, *STACKS, "module"]
        raise SettingError(
            f'no kind of site "{wrong}"; there are {", ".join(KINDS)} and module.PATH.'
            f"{did_you_mean(wrong, options)}"
        )
    if set(texts) <= {"hidden"}:  # the common case needs no more
        return find_sites(model, ["hidden"]), {}
    return all_sites(model)


def _modules(model: Any, texts: Sequence[str]) -> dict[str, Site]:
    """Return a site for each ``module.PATH`` or ``module.PATH@input``; a trial tells its width."""
    import torch

    if not texts:
        return {}
    root = torch_module(model)
    paths = {name for name, _ in root.named_modules()}
    seen: dict[str, int] = {}
    places: dict[str, tuple[str, Literal["input", "output"]]] = {}
    handles: list[Any] = []

    def note(text: str, tensor: Any) -> None:
        if isinstance(tensor, torch.Tensor) and tensor.dim():
            seen.setdefault(text, tensor.shape[-1])

    def on_input(text: str) -> Any:
        return lambda mod, args, kwargs: note(text, find_input(args, kwargs))

    def on_output(text: str) -> Any:
        return lambda mod, args, out: note(text, first_tensor(out))

    try:
        for text in texts:
            path, at, point = text.removeprefix("module.").partition("@")
            if path not in paths or (at and point not in ("input", "output")):
                raise SettingError(
                    f'the model has no site "{text}"; give module.PATH or module.PATH@input.'
                    f"{did_you_mean(text, (f'module.{name}' for name in paths))}"
                )
            module = root.get_submodule(path)
            places[text] = (path, "input" if point == "input" else "output")
            if point == "input":
                handles.append(module.register_forward_pre_hook(on_input(text), with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(on_output(text)))
        trial(root)
    finally:
        for handle in handles:
            handle.remove()
    for text, (path, point) in places.items():
        if text not in seen:
            raise ModelError(
                f"{path} did not run in a trial forward pass, or has no tensor as its {point}; "
                "name another module"
            )
    return {
        text: Site("module", 0, path, point, seen[text]) for text, (path, point) in places.items()
    }
