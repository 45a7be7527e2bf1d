"""The page: whole by itself, closed to what it loads and to what its text says, and complete."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from study_factory import HOSTILE, HOSTILE_CLASS, make_outcome

from nissl.report import write_figures, write_report
from nissl.report.data import MOST_VALUES, page_data, to_json
from nissl.report.figures import LARGEST_SVG, picture
from nissl.report.sections import blocks
from nissl.report.short import headlines, overview
from nissl.study.outcome import StudyOutcome

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Tags, attributes, texts and raw blocks of a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.comments: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "style"):
            self.blocks.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            tag, attrs, text = self.blocks[-1]
            self.blocks[-1] = (tag, attrs, text + data)
        else:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def values(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    @property
    def seen(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def outcome() -> StudyOutcome:
    return make_outcome()


@pytest.fixture(scope="module")
def source(outcome: StudyOutcome, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_report(outcome, tmp_path_factory.mktemp("report") / "deep" / "report.html")
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
    return path.read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def data_of(page: Page) -> dict:
    (text,) = (t for _, attrs, t in page.blocks if attrs.get("type") == "application/json")
    return json.loads(text)


# Closed ---------------------------------------------------------------------------------------


def test_tags_nest(page: Page) -> None:
    assert page.open == []


def test_nothing_is_loaded(page: Page, source: str) -> None:
    for name in ("src", "href", "action", "srcset", "poster", "data"):
        for value in page.values(name):
            assert value.startswith(("#", "data:")), value
    (css,) = (text for tag, _, text in page.blocks if tag == "style")
    assert "url(" not in css
    assert "@import" not in css
    shown = re.sub(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+", "", source)
    assert "://" not in shown


def test_figures_load_nothing_either(page: Page) -> None:
    pictures = [value for value in page.values("src") if "svg+xml" in value]
    assert len(pictures) >= 20
    for value in pictures:
        svg = base64.b64decode(value.partition("base64,")[2]).decode("utf-8")
        links = re.findall(r'href="([^"]*)"', svg)
        assert all(link.startswith(("#", "data:image/png")) for link in links)
        assert "<script" not in svg


def test_no_inline_style_or_handler(page: Page) -> None:
    names = {name for _, attrs in page.tags for name in attrs}
    assert "style" not in names
    assert not [name for name in names if name.startswith("on")]


def test_policy_allows_exactly_the_blocks_that_are_there(page: Page) -> None:
    (policy,) = (
        attrs["content"] or ""
        for tag, attrs in page.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]
    assert "unsafe" not in policy
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        found = [
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for name, attrs, text in page.blocks
            if name == tag and attrs.get("type") != "application/json"
        ]
        assert len(found) == 1
        assert rules[rule] == found


def test_policy_comes_before_anything_it_governs(page: Page) -> None:
    kinds = [attrs.get("http-equiv") or tag for tag, attrs in page.tags]
    assert kinds.index("Content-Security-Policy") < kinds.index("style")


# Other people's words ---------------------------------------------------------------------------


def test_hostile_text_stays_text(page: Page, source: str) -> None:
    assert page.comments == []
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 2
    assert tags.count("style") == 1
    assert all(value != "x" for value in page.values("src"))
    assert "onerror=alert" not in re.sub(
        r"&lt;img src=x onerror=alert|\\u003cimg src=x onerror=alert", "", source
    )
    assert "{{ 7*7 }}" in source
    # Shown as written: a class, a property and a title.
    assert HOSTILE_CLASS in page.seen
    assert "chunks/<b>" in page.seen
    assert 'Planted <neurons> & "words"' in page.seen
    assert "nissl study 'planted <model>' corpus.conllu --seed 0" in page.seen


def test_data_block_cannot_be_left(page: Page, source: str, outcome: StudyOutcome) -> None:
    raw = source.partition('<script type="application/json" id="data">')[2].partition("</script>")[
        0
    ]
    assert not set("<>&\u2028\u2029") & set(raw)
    forms = data_of(page)["texts"][0]["forms"]
    assert forms == outcome.texts[0].words["form"].to_list()
    assert set(HOSTILE) & set(forms)


def test_json_is_escaped_and_comes_back() -> None:
    data = {word: [word] for word in HOSTILE}
    text = to_json(data)
    assert json.loads(text) == data
    assert "</" not in text
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": float("nan")})


# Complete ----------------------------------------------------------------------------------------


def test_every_image_is_described_and_sized(page: Page) -> None:
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert all((attrs.get("alt") or "").strip() for attrs in images)
    assert all(int(attrs["width"] or 0) > 100 for attrs in images)
    assert len({attrs["alt"] for attrs in images}) == len(images)


def test_anchors_and_ids(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for target in page.values("href"):
        assert not target.startswith("#") or target[1:] in ids


def test_order_of_the_page(page: Page) -> None:
    order = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert order == [
        "short",
        "overview",
        "property-1",
        "property-2",
        "sharing",
        "neurons",
        "text",
        "reproduce",
        "glossary",
    ]


def test_overview_and_headlines_say_the_numbers(outcome: StudyOutcome, page: Page) -> None:
    table = overview(outcome)
    heads = [column.head for column in table.columns]
    assert len(table.rows) == 2
    for row, head, (name, found) in zip(
        table.rows, headlines(outcome), outcome.properties.items(), strict=True
    ):
        cells = dict(zip(heads, row, strict=True))
        assert cells["property"] == name
        assert cells["classes"] == "3"
        assert (cells["train tokens"], cells["test tokens"]) == ("180", "60")
        assert cells["majority"] == f"{found.probe.majority:.1%}"
        assert cells["accuracy [95%]"].startswith(f"{found.probe.accuracy:.1%} [")
        k = found.minimal.size(1.0)
        assert cells["minimal set, δ\xa0=\xa01"] == f"{k} ({100 * k / 30:.1f}%)"
        text = " ".join(head.sentences)
        near = found.ablation.table.filter(
            (pl.col("how") == "retrain") & (pl.col("kind") == "random") & (pl.col("k") == 1)
        )
        for value in (
            f"{found.probe.accuracy:.1%}",
            f"majority {found.probe.majority:.1%}",
            f"Retrained on {k} of 30 neurons",
            f"random ones {near['accuracy'][0]:.1%}",
            f"({found.layers.table['accuracy'].max():.1%})",
        ):
            assert value in text
        for sentence in head.sentences:
            assert " ".join(sentence.split()) in page.seen


def test_every_result_has_its_sentences_and_figure(outcome: StudyOutcome, page: Page) -> None:
    for found in outcome.properties.values():
        for name, result in found.results().items():
            for sentence in result.summary():
                assert " ".join(sentence.split()) in page.seen, name
        # One figure a result, two for the ablation.
        pictures = [item for block in blocks(found) for item in block.figures]
        assert len(pictures) == len(found.results()) + 1


def test_ablation_table_is_in_order_and_in_plain_numbers(outcome: StudyOutcome) -> None:
    ablation = next(b for b in blocks(outcome.properties["tag"]) if b.title.startswith("Best"))
    (table,) = ablation.tables
    assert [row[:4] for row in table.rows[:3]] == [
        ("retrain", kind, "1", "3.3") for kind in ("best", "random", "worst")
    ]
    assert ("retrain", "all", "30", "100.0") in [row[:4] for row in table.rows]


def test_certificates_of_the_probe_and_of_each_point_of_the_search(outcome: StudyOutcome) -> None:
    for found in outcome.properties.values():
        by_title = {block.title: block for block in blocks(found)}
        probe = found.probe
        (one,) = (t for t in by_title["Probe and baselines"].tables if "Certificate" in t.caption)
        heads = [column.head for column in one.columns]
        assert [dict(zip(heads, row, strict=True)) for row in one.rows] == [
            {
                "objective": f"{probe.objective:.6g}",
                "optimality violation": f"{probe.kkt:.2g}",
                "relative gap": f"{probe.gap:.2g}",
                "iterations": f"{probe.iterations:,}",
                "full gradients": f"{probe.gradients:,.1f}",
                "CPU s": f"{probe.seconds:,.2f}",
                "converged": "yes",
            }
        ]
        (grid,) = by_title["Regularisation"].tables
        heads = [column.head for column in grid.columns]
        for cells, row in zip(grid.rows, found.search.table.iter_rows(named=True), strict=True):
            assert dict(zip(heads, cells, strict=True)) | {
                "relative gap": f"{row['gap']:.2g}",
                "iterations": f"{row['iterations']:,}",
                "full gradients": f"{row['gradients']:,.1f}",
                "CPU s": f"{row['cpu_seconds']:,.2f}",
                "converged": "yes" if row["converged"] else "no",
            } == dict(zip(heads, cells, strict=True))


def test_what_was_left_out_is_on_the_page(page: Page) -> None:
    assert page.seen.count("tokens of class RARE (fewer than 5 training tokens) : 17") == 2
    assert "words cut by the model's limit : 23" in page.seen


def test_neurons_of_each_property_are_listed(outcome: StudyOutcome, page: Page) -> None:
    listed = page.values("data-neuron")
    wanted = [n for found in outcome.properties.values() for n in found.ranking.ids(50)]
    assert listed == wanted


def test_text_view_has_the_z_scores(outcome: StudyOutcome, page: Page) -> None:
    data = data_of(page)
    (text,), view = data["texts"], outcome.texts[0]
    assert text["neurons"] == list(view.neurons)
    z = np.array(text["hundredths"]).T / 100
    np.testing.assert_allclose(z, view.z, atol=0.0051)
    assert text["starts"] == list(range(0, 60, 10))
    column = text["labels"]["tag"]
    values = [None if code < 0 else column["names"][code] for code in column["codes"]]
    assert values == view.words["tag"].to_list()
    assert data["properties"][0]["best"][0] in text["neurons"]
    assert set(data["views"]) == {item.neuron for item in outcome.views}


def test_long_texts_are_cut_and_it_is_said(outcome: StudyOutcome) -> None:
    view = outcome.texts[0]
    n = MOST_VALUES // 10
    words = pl.DataFrame({"sentence": np.arange(2 * n) // 20, "form": ["x"] * (2 * n)})
    z = np.zeros((2 * n, 10), dtype=np.float32)
    z[0, 0] = np.nan
    names = tuple(f"hidden.0:{i}" for i in range(10))
    long = dataclasses.replace(view, words=words, neurons=names, z=z)
    (text,) = page_data(dataclasses.replace(outcome, texts=(long,)))["texts"]
    assert text["total"] == 2 * n // 20
    assert len(text["starts"]) == n // 20
    assert len(text["forms"]) == n
    assert text["hundredths"][0][:2] == [None, 0]


def test_one_property_and_nothing_optional(tmp_path: Path) -> None:
    small = make_outcome(properties=("tag",), classes=2)
    found = dataclasses.replace(small.properties["tag"], sharing=None, left_out={})
    bare = dataclasses.replace(small, properties={"tag": found}, views=(), texts=())
    page = Page(write_report(bare, tmp_path / "r.html").read_text(encoding="utf-8"))
    ids = page.values("id")
    assert "sharing" not in ids
    assert "text" not in ids
    assert all(t[1:] in ids for t in page.values("href") if t.startswith("#"))


def test_equal_outcomes_give_equal_bytes(
    outcome: StudyOutcome, source: str, tmp_path: Path
) -> None:
    assert write_report(outcome, tmp_path / "again.html").read_bytes() == source.encode("utf-8")


def test_a_failed_write_leaves_the_old_page(outcome: StudyOutcome, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(AttributeError):
        write_report(dataclasses.replace(outcome, model=None), path)  # type: ignore[arg-type]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_large_figure_becomes_png() -> None:
    from nissl.plotting import new_axes

    def draw() -> Axes:
        ax = new_axes(None)
        ax.scatter(*np.random.default_rng(0).random((2, 3000)))
        return ax

    made = picture(draw, alt="dots", caption="")
    assert made.src.startswith("data:image/png;base64,")
    assert len(made.src) < 2 * LARGEST_SVG


def test_figures_as_files(outcome: StudyOutcome, tmp_path: Path) -> None:
    written = write_figures(outcome, tmp_path / "figures")
    assert sorted(written) == sorted(p for p in tmp_path.rglob("*") if p.is_file())
    # Every result, the masked ablation, and sharing between properties, each as SVG.
    steps = sum(len(found.results()) + 1 for found in outcome.properties.values())
    assert len(written) == steps + 1
    assert (tmp_path / "figures" / "tag" / "ablation.svg").read_bytes().startswith(b"<?xml")
