"""The figure of a report: which arrays it has, what is drawn of each, and strange reports."""

from __future__ import annotations

import dataclasses
import math
import sys

import matplotlib
import numpy as np
import pytest
from support.reports import failed_row, failure, report, row

import fastbp
from fastbp.errors import OptionError
from fastbp.report.pictures.cells import Cells
from fastbp.report.pictures.picture import Picture

matplotlib.use("Agg")

from matplotlib import pyplot

pytestmark = pytest.mark.small


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    pyplot.close("all")


def drawn_row(name, shape, wrong=(), kinks=(), **changes):
    """A row whose entries are right, but for some that are off by 10 times what is allowed."""
    size = math.prod(shape)
    ratios, on_kink = np.full(size, 0.01), np.zeros(size, dtype=bool)
    ratios[list(wrong)], on_kink[list(kinks)] = 10.0, True
    cells = Cells(shape)
    cells.add(0, ratios, on_kink)
    places = np.arange(min(size, 5))
    samples = np.stack([places, places + 1.0, places + 1.0, 0 * places, 0 * places], axis=1)
    worst = None
    if wrong:
        index = tuple(int(i) for i in np.unravel_index(wrong[0], shape))
        worst = dataclasses.replace(failure(name, index), allowed=0.1)
    found = {
        "shape": shape, "entries": size, "wrong": len(wrong), "kinks": len(kinks), "zero": 0,
        "worst": worst, "verdict": "failed" if wrong else "passed", "reason": "",
        "picture": cells.picture(samples),
    }  # fmt: skip
    return row(name, **{**found, **changes})


def axes_of(figure, kind):
    return [ax for ax in figure.axes if ax.get_label().startswith(kind)]


def line_of(ax, label):
    """The points of the marks with a label; empty if there are none."""
    lines = [line for line in ax.lines if line.get_label() == label]
    return np.concatenate([line.get_xydata() for line in lines]) if lines else np.zeros((0, 2))


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


# ---- one array ----


def test_one_wrong_entry_of_a_large_matrix_is_seen():
    wrong = 1234 * 4096 + 2345
    shown = report(drawn_row("weights[1]", (4096, 4096), [wrong]), verdict="failed")
    ax = shown.plot_array("weights[1]")
    [image] = ax.images
    levels = np.asarray(image.get_array())
    assert levels.shape == (128, 128)
    assert np.argwhere(levels > 0).tolist() == [[1234 // 32, 2345 // 32]]
    assert levels.max() == pytest.approx(1.0)
    assert tuple(image.get_extent()) == (-0.5, 4095.5, 4095.5, -0.5)
    assert line_of(ax, "worst entry").tolist() == [[2345, 1234]]
    above, beside = ax.child_axes
    assert np.argwhere(np.asarray(above.images[0].get_array()) > 0).tolist() == [[0, 2345 // 32]]
    assert np.argwhere(np.asarray(beside.images[0].get_array()) > 0).tolist() == [[1234 // 32, 0]]
    assert (above.get_xlim(), beside.get_ylim()) == (ax.get_xlim(), ax.get_ylim())


def test_the_colour_jumps_where_wrong_begins():
    ratios = np.array([[0.0, 1.0, 1.0 + 1e-12, 1e9], [math.inf, -1.0, 0.999, 50.0]])
    shown = report(drawn_row("w", (2, 4), picture=Picture(ratios)))
    [image] = shown.plot_array("w").images
    red, _, blue, _ = np.moveaxis(image.to_rgba(image.get_array()), -1, 0)
    wrong = ratios > 1
    assert (red[wrong & np.isfinite(ratios)] > blue[wrong & np.isfinite(ratios)] + 0.1).all()
    right = (ratios >= 0) & ~wrong
    assert (blue[right] > red[right]).all()
    assert (red[1, 0], blue[1, 0]) == (0.0, 0.0)  # infinite: black
    assert red[1, 1] == blue[1, 1]  # not judged: grey
    luminance = image.to_rgba(image.get_array())[..., :3] @ [0.2126, 0.7152, 0.0722]
    by_size = luminance.reshape(-1)[np.argsort(np.where(ratios < 0, np.nan, ratios), axis=None)]
    assert (np.diff(by_size[:-1]) < 0.02).all()  # darker and darker, also without colours


def test_an_array_of_one_axis_is_dots_over_its_index():
    shown = report(drawn_row("b", (2050,), [700], kinks=[3, 1000]), verdict="failed")
    ax = shown.plot_array("b")
    places, levels = np.asarray(ax.collections[0].get_offsets()).T
    assert places.size == 684  # three entries each
    assert places[levels > 0].tolist() == [700.0]
    assert places[-1] == 2049.0  # of the last cell, which has one entry
    assert line_of(ax, "kink")[:, 0].tolist() == [4.0, 1000.0]
    assert ax.get_xlabel() == "axis 0"
    column = report(drawn_row("b", (6, 1), [2]), verdict="failed").plot_array("b")
    assert line_of(column, "worst entry").tolist() == [[2.0, 1.0]]


def test_kinks_are_marked_where_they_are():
    ax = report(drawn_row("w", (300, 5), kinks=[7 * 5 + 2])).plot_array("w")
    [[column, line]] = line_of(ax, "kink").tolist()
    assert column == 2.0
    assert abs(line - 7) <= 1.5  # three rows are a cell


def test_axes_say_what_they_count():
    shown = report(drawn_row("weights[1]", (2, 5)), drawn_row("biases[0]", (5, 1)),
                   drawn_row("other", (64, 3, 3, 3)))  # fmt: skip
    ax = shown.plot_array("weights[1]")
    assert (ax.get_ylabel(), ax.get_xlabel()) == (
        "axis 0: unit of layer 2", "axis 1: unit of layer 1",
    )  # fmt: skip
    assert shown.plot_array("biases[0]").get_xlabel() == "unit of layer 1"
    ax = shown.plot_array("other")
    assert (ax.get_ylabel(), ax.get_xlabel()) == (
        "axis 0", "axis 1, axis 2, axis 3: 3 x 3 x 3 in C order",
    )  # fmt: skip
    keras = dataclasses.replace(
        report(drawn_row("weights[1]", (5, 2)), layout="keras"), sizes=(4, 5, 2)
    )
    assert keras.plot_array("weights[1]").get_ylabel() == "axis 0: unit of layer 1"


def test_axes_in_the_same_out():
    shown = report(drawn_row("w", (3, 4)), drawn_row("b", (3,)))
    figure, (one, two) = pyplot.subplots(1, 2)
    assert shown.plot_array("w", one) is one
    assert shown.plot_array("b", ax=two) is two
    assert pyplot.get_fignums() == [figure.number]


def test_an_array_that_is_not_there_is_named():
    shown = report(*(drawn_row(f"w{k}", (2,)) for k in range(5)))
    with pytest.raises(OptionError, match=r"of an array \('w0', 'w1', 'w2', ...\), not 'W'."):
        shown.plot_array("W")
    with pytest.raises(OptionError, match="not 0"):
        shown.plot_array(0)


def test_given_stands_against_numerical():
    samples = np.array(
        [[0, 1.0, 1.0, 1e-9, 0.0], [1, 4.0, 2.0, 1e-9, 0.0], [2, 0.5, 0.0, 1e-9, 1.0]]
    )
    wrong = failure("w", (0, 1), 4.0, 2.0)
    infinite = failure("w", (1, 0), math.nan, 2.0)
    one = drawn_row("w", (2, 2), [1], picture=Picture(np.ones((2, 2)), samples=samples))
    figure = report(one, verdict="failed", failures=[wrong, infinite]).plot()
    [ax] = axes_of(figure, "values")
    assert line_of(ax, "samples").tolist() == [[1.0, 1.0], [2.0, 4.0]]
    assert line_of(ax, "kink").tolist() == [[0.0, 0.5]]
    assert line_of(ax, "wrong").tolist() == [[2.0, 4.0]]
    assert "1 not finite" in [text.get_text() for text in ax.texts]
    assert ax.get_xlim() == ax.get_ylim()


@pytest.mark.long
def test_numbers_of_very_different_sizes_are_told_apart():
    samples = np.zeros((5, 5))
    samples[:, 1] = samples[:, 2] = [1e-300, -1e-9, 1.0, -2.0, 1.7e308]
    one = drawn_row("w", (5,), picture=Picture(np.ones((1, 5)), samples=samples))
    figure = report(one).plot()
    figure.canvas.draw()
    [ax] = axes_of(figure, "values")
    assert ax.get_xscale() == ax.get_yscale() == "asinh"


# ---- the whole ----


@pytest.mark.long
def test_the_worst_arrays_come_first_and_the_others_are_counted():
    right, wrong = drawn_row("right", (2, 2)), drawn_row("wrong", (2, 2), [3])
    rows = [dataclasses.replace(right, name=f"right {k}") for k in range(9_990)]
    rows += [dataclasses.replace(wrong, name=f"wrong {k}") for k in range(13)]
    rows[7] = row("doubtful", verdict="inconclusive")
    for shown in (rows, rows[:-3]):
        figure = report(*shown, verdict="failed").plot()
        titles = [ax.get_title().split("\n")[0] for ax in axes_of(figure, "errors")]
        first = [one.name for one in shown if one.verdict == "failed"]
        assert titles == [*first, "doubtful", "right 0"][:12]
        failed = ", of which 1 failed" if len(first) > 12 else ""
        said = f"{len(shown) - 12:,} arrays are not shown{failed}; "
        assert any(text.startswith(said) for text in texts(figure))


def test_the_title_is_the_verdict_and_the_first_diagnosis():
    shown = report(drawn_row("w", (2, 2), [0]), verdict="failed", diagnosis=("w: transposed", "x"))
    found = texts(shown.plot())
    assert "FAILED: network 4-5-2, batch 3, float64, layout book" in found
    assert "diagnosis: w: transposed" in found
    assert "(2, 2) failed: 1 of 4 entries wrong" in "\n".join(found)


def test_arrays_without_a_picture_say_why():
    rows = [
        row("none", shape=(0, 3), entries=0, verdict="untested", reason="has no entries"),
        row("fine", verdict="passed"),
        failed_row("shape", reason="must have shape (2,), not (3,)", worst=None),
    ]
    figure = report(*rows, verdict="failed").plot()
    said = [ax.texts[0].get_text() for ax in axes_of(figure, "errors")]
    assert said == [
        "must have shape (2,), not (3,)",
        "no entries",
        "passed; no more is known of single\nentries",
    ]
    assert axes_of(figure, "values") == []
    assert report().plot().axes == []


def test_wrong_entries_stand_alone_where_no_others_were_looked_at():
    at = np.arange(1.0, 301.0)
    wrong = 2 * at
    wrong[17] = -3.0
    shown = fastbp.check_gradient(lambda x: np.sum(x**2), wrong, at, method="probe")
    assert shown.arrays[0].picture is None
    ax = shown.plot_array("x")
    levels = np.asarray(ax.collections[0].get_offsets())[:, 1]
    assert np.flatnonzero(np.isfinite(levels)).tolist() == [17]
    assert line_of(ax, "worst entry")[0, 0] == 17


NAMES = [
    "$\\frac{1}{0}$", "a$b", "<script>alert(1)</script>", "w\x1b[2J\n\u202eb\r\ud800",
    "x" * 10_000, "\u4e2d\u6587\U0001f600\u05d0", "_^{}%\\", "",
]  # fmt: skip


@pytest.mark.long
@pytest.mark.filterwarnings("error")
def test_names_of_users_are_only_shown():
    everything = "".join(NAMES)
    shown = report(
        *(drawn_row(name, (3, 4), [2]) for name in NAMES), verdict="failed",
        function=everything, diagnosis=(everything,),
    )  # fmt: skip
    figure = shown.plot()
    figure.canvas.draw()
    assert all(len(text) < 500 and text.replace("\n", "").isprintable() for text in texts(figure))
    titles = [ax.get_title().split("\n")[0] for ax in axes_of(figure, "errors")]
    assert titles == [
        "$\\frac{1}{0}$", "a$b", "<script>alert(1)</script>", r"w\x1b[2J\n\u202eb\r\ud800",
        "x" * 25 + "..." + "x" * 12, r"\u4e2d\u6587" + "\U0001f600\u05d0", "_^{}%\\", "",
    ]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1.7e308, 5e-324, 0.0])
def test_any_number_may_be_nan_or_infinite(number):
    samples = np.full((3, 5), number)
    samples[:, 0] = [0, 1, 2]
    picture = Picture(np.array([[math.inf, 0.0, -1.0]]), samples=samples)
    odd = dataclasses.replace(
        failure("w", (1,), number, number),
        error=number, allowed=number, error_bar=number, hull=number,
    )  # fmt: skip
    one = failed_row("w", shape=(3,), worst=odd, factor=number, residual=number, picture=picture)
    rows = (one, dataclasses.replace(one, picture=None))
    shown = report(*rows, verdict="failed", failures=[odd], seconds=number, delta=number)
    shown.plot().canvas.draw()


@pytest.mark.filterwarnings("error")
def test_entries_that_are_not_in_the_array_are_not_drawn():
    odd = [failure("w", (7, 7)), failure("w", (1,)), failure("w", (-1, 0)), failure("w", (1, 1))]
    one = drawn_row("w", (2, 2), [3], worst=odd[0])
    figure = report(one, verdict="failed", failures=odd).plot()
    [errors], [values] = axes_of(figure, "errors"), axes_of(figure, "values")
    assert line_of(errors, "worst entry").size == 0
    assert len(line_of(values, "wrong")) == 1


SHAPES = [(), (1,), (1, 1), (1, 7), (5, 1, 1), (2, 3, 4), (2, 1, 3, 4), (1000, 3), (3, 5000)]


@pytest.mark.filterwarnings("error")
def test_arrays_of_any_shape_are_drawn():
    rows = [drawn_row(str(shape), shape, [math.prod(shape) - 1], kinks=[0]) for shape in SHAPES]
    figure = report(*rows, verdict="failed").plot()
    figure.canvas.draw()
    assert len(axes_of(figure, "errors")) == len(SHAPES)
    for ax in axes_of(figure, "errors"):
        levels = (
            np.asarray(ax.images[0].get_array())
            if ax.images
            else np.asarray(ax.collections[0].get_offsets())[:, 1]
        )
        assert np.count_nonzero(levels > 0) == 1


def test_a_report_that_was_read_back_is_drawn_alike(tmp_path):
    shown = report(drawn_row("w", (200, 300), [777]), verdict="failed")
    shown.to_json(tmp_path / "report.json")
    again = fastbp.Report.from_json(tmp_path / "report.json")
    mine, read = (one.plot_array("w").images[0].get_array() for one in (shown, again))
    np.testing.assert_allclose(np.asarray(mine), np.asarray(read), atol=0.01)


def test_the_figure_is_one_of_pyplot():
    figure = report(drawn_row("w", (2, 2))).plot()
    assert isinstance(figure, matplotlib.figure.Figure)
    assert pyplot.gcf() is figure


def test_without_matplotlib_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    shown = report(drawn_row("w", (2, 2)))
    install = r'needs matplotlib: python -m pip install "fastbp\[report\]"\.$'
    with pytest.raises(OptionError, match=f"^plot {install}"):
        shown.plot()
    with pytest.raises(OptionError, match=f"^plot_array {install}"):
        shown.plot_array("w")
