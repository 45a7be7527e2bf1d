"""Figures: every result draws itself, in our style, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from study_factory import HOSTILE_CLASS, make_findings, make_outcome, make_planted_task

from nissl.plotting import PALETTE, bars, curve, figure_bytes, heatmap, new_axes, style
from nissl.study.outcome import PropertyFindings


@pytest.fixture(scope="module")
def findings() -> PropertyFindings:
    return make_findings(make_planted_task("tag", ("NOUN", HOSTILE_CLASS, "PRP$")))


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def root(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def test_every_result_draws_on_the_axes_it_is_given_and_on_its_own(
    findings: PropertyFindings,
) -> None:
    for name, result in findings.results().items():
        own = result.plot()
        assert isinstance(own, Axes), name
        given = new_axes(None)
        assert result.plot(given) is given, name
        assert given.has_data(), name
        assert figure_bytes(root(own), "svg").startswith(b"<?xml"), name


def test_no_result_goes_through_pyplot() -> None:
    # In a process of its own, because another test may import pyplot.
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from study_factory import make_findings, make_planted_task\n"
        "found = make_findings(make_planted_task('tag', ('A', 'B')))\n"
        "assert 'matplotlib' not in sys.modules, 'imported before the first figure'\n"
        "for result in found.results().values(): result.plot()\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ablation_has_three_curves_with_bands(findings: PropertyFindings) -> None:
    table = findings.ablation.table
    for how in ("retrain", "mask"):
        ax = findings.ablation.plot(how=how)
        assert legend_of(ax) == ["best k", "random k", "worst k", "all neurons", "majority"]
        assert len(ax.collections) == 3
        best = table.filter((table["how"] == how) & (table["kind"] == "top")).sort("k")
        np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata()), best["accuracy"].to_numpy())
        assert [line.get_color() for line in ax.lines[:3]] == [
            PALETTE[kind] for kind in ("top", "random", "bottom")
        ]
        assert ax.get_xscale() == "log"


def test_the_other_figures_have_what_they_promise(findings: PropertyFindings) -> None:
    assert len(findings.search.plot().lines) == 3
    minimal = findings.minimal.plot()
    assert [text[:1] for text in legend_of(minimal)] == ["b", "a", "δ", "δ"]
    assert len(findings.selectivity.plot().patches) == 2 * findings.selectivity.table.height
    layers = findings.layers.plot()
    assert set(legend_of(layers)) == {"selected neurons", "chance", "accuracy"}
    assert len(layers.patches) == 3
    localised = findings.localisation.plot()
    assert {text.get_text() for text in localised.texts} == set(findings.probe.classes)
    assert len(findings.baselines.plot().patches) == findings.baselines.table.height
    assert len(findings.redundancy.plot().patches) == 6
    assert np.size(findings.ranking.plot().lines[0].get_xdata()) == 30


def test_names_with_dollars_are_not_formulas(findings: PropertyFindings) -> None:
    ax = findings.probe.plot()
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert set(labels) == set(findings.probe.classes)
    bars(ax, ["$\\frac{$"], np.array([1.0]), None, None)
    # A formula that does not parse would raise here.
    assert b"frac" in figure_bytes(root(ax), "svg")


def test_bars_keep_equal_names_apart_and_order_from_the_top() -> None:
    ax = new_axes(None)
    bars(ax, ["can", "can", "may"], np.array([0.1, np.nan, 0.3]), None, None)
    assert [patch.get_width() for patch in ax.patches if isinstance(patch, Rectangle)] == [
        0.1,
        0.0,
        0.3,
    ]
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_whiskers_span_the_interval() -> None:
    ax = new_axes(None)
    bars(ax, ["a"], np.array([0.5]), np.array([0.4]), np.array([0.7]))
    (segment,) = ax.containers[-1].errorbar.lines[2][0].get_segments()  # type: ignore[union-attr]
    np.testing.assert_allclose(segment[:, 0], [0.4, 0.7])


def test_heatmap_greys_the_diagonal_and_scales_to_the_rest() -> None:
    ax = new_axes(None)
    heatmap(ax, np.array([[1.0, 0.2], [0.2, 1.0]]), ["a", "b"], ["a", "b"])
    shown = np.ma.asarray(ax.images[0].get_array())
    assert np.ma.getmaskarray(shown).tolist() == [[True, False], [False, True]]
    assert ax.images[0].get_clim() == (0, 0.2)
    assert sorted(text.get_text() for text in ax.texts) == ["0.20", "0.20"]


def test_heatmap_of_other_names_keeps_every_value() -> None:
    ax = new_axes(None)
    heatmap(ax, np.eye(2), ["a", "b"], ["c", "d"])
    assert not np.ma.getmaskarray(np.ma.asarray(ax.images[0].get_array())).any()


def test_a_curve_without_interval_has_no_band() -> None:
    ax = new_axes(None)
    curve(ax, np.array([1, 2]), np.array([0.1, 0.2]), None, None, "x", "all")
    assert len(ax.lines) == 1
    assert len(ax.collections) == 0


def test_log_axes_have_plain_labels() -> None:
    ax = new_axes(None)
    ax.plot([1, 2000], [0, 1])
    ax.set_xscale("log")
    figure_bytes(root(ax), "png")
    labels = {text.get_text() for text in ax.get_xticklabels()}
    assert {"1", "10", "100", "1,000"} <= labels
    assert not any("$" in label for label in labels)


def test_style_is_local_even_when_threads_leave_in_another_order() -> None:
    before = dict(matplotlib.rcParams)
    inside = threading.Event()

    def other() -> None:
        with style():
            inside.set()

    with style():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
        thread = threading.Thread(target=other)
        thread.start()
        # The other thread has to wait: were it let in, it would save our style as the user's.
        assert not inside.wait(0.2)
    thread.join()
    new_axes(None).plot([1], [2])
    assert dict(matplotlib.rcParams) == before


def test_axes_show_themselves_in_a_notebook() -> None:
    ax = new_axes(None)
    for item in (ax, ax.get_figure()):
        assert item._repr_png_().startswith(b"\x89PNG")  # type: ignore[union-attr]


def test_equal_figures_are_equal_bytes(findings: PropertyFindings) -> None:
    for kind in ("svg", "png"):
        once, twice = (figure_bytes(root(findings.ablation.plot()), kind) for _ in range(2))
        assert once == twice


def test_sharing_between_properties_draws_every_property() -> None:
    outcome = make_outcome()
    assert outcome.sharing is not None
    ax = outcome.sharing.plot()
    assert [text.get_text() for text in ax.get_yticklabels()] == list(outcome.properties)
