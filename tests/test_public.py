"""The public names: all there, and none hidden by a module of the same name."""

from __future__ import annotations

import importlib
import pkgutil
import types

import pytest

import nissl


def test_every_public_name_is_there_once_everything_is_imported() -> None:
    for module in pkgutil.walk_packages(nissl.__path__, "nissl."):
        importlib.import_module(module.name)
    for name in nissl.__all__:
        assert not isinstance(getattr(nissl, name), types.ModuleType), name


def test_no_module_has_the_name_of_a_public_function() -> None:
    modules = {module.name for module in pkgutil.iter_modules(nissl.__path__)}
    assert not modules & set(nissl.__all__)


def test_public_names_are_sorted_and_each_has_one_home() -> None:
    assert list(nissl.__all__) == sorted(set(nissl.__all__))
    homes = [name for names in nissl._HOME.values() for name in names]
    assert sorted([*homes, "__version__"]) == nissl.__all__
    assert list(nissl._HOME) == sorted(nissl._HOME)


def test_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(AttributeError, match='Did you mean "read_corpus"'):
        _ = nissl.read_corpsu  # type: ignore[attr-defined]


def test_dir_lists_the_public_names() -> None:
    assert set(nissl.__all__) <= set(dir(nissl))
