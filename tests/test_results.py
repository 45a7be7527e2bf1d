"""Results on disk: whole, versioned, readable without running code, and honest when damaged."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from nissl.errors import StoreError
from nissl.results import Provenance, Result, load_result, versions


@dataclass(frozen=True, kw_only=True, eq=False)
class Odd(Result):
    numbers: np.ndarray
    empty: np.ndarray
    words: np.ndarray
    table: pl.DataFrame
    value: float
    pair: tuple[int, str]
    by_name: dict[str, float]

    def frame(self) -> pl.DataFrame:
        return self.table


def odd(**changes) -> Odd:
    return dataclasses.replace(
        Odd(
            provenance=Provenance(method="odd", settings={"l1": 1e-3, "grid": ((1, 2),)}, seed=3),
            numbers=np.arange(6, dtype=np.int16).reshape(2, 3).T,
            empty=np.zeros((0, 3), dtype=np.float32),
            words=np.array(["é", "x y"], dtype=object),
            table=pl.DataFrame({"a": [1, None], "b": ["x", "ü"]}),
            value=float("inf"),
            pair=(1, "b"),
            by_name={"a/b": 0.5, "..": 2.0},
        ),
        **changes,
    )


def test_round_trip(tmp_path):
    one = odd()
    two = load_result(one.save(tmp_path / "r"))
    assert isinstance(two, Odd)
    assert two.numbers.dtype == np.int16
    assert np.array_equal(two.numbers, one.numbers)
    assert two.empty.shape == (0, 3)
    assert two.words.tolist() == ["é", "x y"]
    assert two.table.equals(one.table)
    assert two.value == float("inf")
    assert two.pair == (1, "b")
    assert two.by_name == one.by_name
    assert two.provenance == one.provenance
    assert two.provenance.versions == versions()


def test_saving_again_replaces_everything(tmp_path):
    odd().save(tmp_path)
    odd(value=2.0, table=pl.DataFrame({"c": [1.0]})).save(tmp_path)
    again = Odd.load(tmp_path)
    assert again.value == 2.0
    assert again.table.columns == ["c"]


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        odd().value = 1.0  # type: ignore[misc]


def test_no_result_and_damaged_result(tmp_path):
    with pytest.raises(StoreError, match=r"holds no result\.json"):
        load_result(tmp_path)
    odd().save(tmp_path)
    text = (tmp_path / "result.json").read_text()
    (tmp_path / "result.json").write_text(text[: len(text) // 2])
    with pytest.raises(StoreError, match="damaged"):
        load_result(tmp_path)


def damage(folder, change):
    tree = json.loads((folder / "result.json").read_text())
    change(tree)
    (folder / "result.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(format=99), "has format 99, this version reads 3; run the analysis"),
        (lambda t: t.update(format=1), "has format 1, this version reads 3; run the analysis"),
        (lambda t: t.update(result=[1]), "holds no result"),
        (lambda t: t["result"].update({"$type": "Evil"}), "unknown type of result 'Evil'"),
        (lambda t: t["result"]["fields"].pop("value"), "has other fields now"),
        (lambda t: t["result"]["fields"].update(value={"$what": 1}), "unknown entry"),
        (lambda t: t["result"]["fields"].update(table={"$frame": "../x"}), "outside the folder"),
        (
            lambda t: t["result"]["fields"].update(table={"$frame": "gone"}),
            "gone.parquet is missing",
        ),
        (
            lambda t: t["result"]["fields"].update(numbers={"$array": "gone"}),
            "array gone is missing",
        ),
        (lambda t: t.pop("result"), "holds no result"),
    ],
)
def test_foreign_and_tampered_results(tmp_path, change, words):
    odd().save(tmp_path)
    damage(tmp_path, change)
    with pytest.raises(StoreError, match=words):
        load_result(tmp_path)


def test_damaged_arrays_and_frames(tmp_path):
    odd().save(tmp_path / "a")
    (tmp_path / "a" / "arrays.safetensors").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"arrays\.safetensors is damaged"):
        load_result(tmp_path / "a")
    odd().save(tmp_path / "b")
    (tmp_path / "b" / "table.parquet").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"table\.parquet is damaged"):
        load_result(tmp_path / "b")


def test_loading_as_another_type(tmp_path):
    from nissl.methods import Ranking

    odd().save(tmp_path)
    with pytest.raises(StoreError, match="holds a Odd, not a Ranking"):
        Ranking.load(tmp_path)


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(TypeError, match="cannot save a set"):
        odd(value={1, 2}).save(tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_base_class_asks_for_a_frame():
    bare = Result(provenance=Provenance(method="x"))
    with pytest.raises(TypeError, match="must define frame"):
        bare.frame()
    with pytest.raises(TypeError, match="must define plot"):
        bare.plot()
    assert bare.summary() == ()
