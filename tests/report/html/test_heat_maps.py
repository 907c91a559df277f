"""The pictures of a report as the page's script reads them."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from support.reports import failed_row, failure, report, row

from fastbp.report.html.heat_maps import heat_maps
from fastbp.report.html.page import page
from fastbp.report.pictures.picture import Picture

pytestmark = pytest.mark.small


def codes_of(data) -> np.ndarray:
    codes = np.frombuffer(base64.b64decode(data["ratios"]), "<u2")
    return codes.reshape(data["cells"]).astype(int)


def test_ratios_keep_three_digits_and_their_side_of_one():
    ratios = np.array([[1e-20, 0.5, 1.0, np.nextafter(1.0, 2.0)], [2.0, 12345.0, 1e300, np.inf]])
    [shown] = heat_maps(report(row("w", picture=Picture(ratios))))
    codes = codes_of(shown["data"])
    assert codes[0, 2] == 32768 < codes[0, 3]
    assert (codes[1, 2], codes[1, 3]) == (65534, 65535)
    read = 10.0 ** ((codes - 32768) / 1600)
    assert np.allclose(read[0], ratios[0], rtol=2e-3)
    assert np.allclose(read[1, :2], ratios[1, :2], rtol=2e-3)


def test_what_was_not_judged_and_what_is_right_are_told_apart():
    picture = Picture(np.array([[-1.0, 0.0, 1e-300]]))
    [shown] = heat_maps(report(row("w", picture=picture)))
    assert codes_of(shown["data"]).tolist() == [[0, 1, 1]]


def test_the_worst_entries_and_the_samples_are_known_by_their_place():
    samples = np.array([[7.0, 1.0, 1.0, 1e-9, 0.0], [2.0, 3.0, 3.0, 1e-9, 0.0]])
    wrong = failed_row("w", shape=(2, 2, 3), picture=Picture(np.ones((2, 6)), samples=samples))
    [shown] = heat_maps(report(wrong, failures=[failure("w", (1, 0, 1), 2.5, np.nan)]))
    assert shown["data"]["entries"] == [(7, "2.5", "nan"), (2, "3", "3")]


def test_an_entry_that_the_array_does_not_have_is_left_out():
    wrong = failed_row("w", shape=(2, 3), picture=Picture(np.ones((2, 3))))
    odd = [failure("w", index) for index in [(0, 3), (-1, 0), (1,), (1, 2)]]
    [shown] = heat_maps(report(wrong, failures=odd))
    assert [place for place, *_ in shown["data"]["entries"]] == [5]


def test_failed_arrays_come_first_and_arrays_without_a_picture_have_no_map():
    picture = Picture(np.ones((5, 4)))
    shown = heat_maps(
        report(row("right", picture=picture), row(), failed_row("wrong", picture=picture))
    )
    assert [one["name"] for one in shown] == ["wrong", "right"]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_arrays_of_no_dimension_or_no_entry_are_no_trouble(shape):
    rows, columns = (1, 1) if shape == () else (1, 0)
    picture = Picture(np.ones((rows, columns)))
    assert "Passed" in page(report(row("w", shape=shape, picture=picture)))


def test_the_page_of_five_large_weights_is_small():
    random = np.random.default_rng(1)
    samples = random.standard_normal((256, 5))
    samples[:, 0] = random.integers(4096**2, size=256)
    picture = Picture(10.0 ** random.uniform(-8, 8, (128, 128)), (32, 32), samples=samples)
    rows = [
        failed_row(f"weights[{k}]", shape=(4096, 4096), entries=4096**2, picture=picture)
        for k in range(5)
    ]
    failures = [
        failure(f"weights[{place % 5}]", (place, place), *random.standard_normal(2))
        for place in range(1000)
    ]
    html = page(report(*rows, verdict="failed", failures=failures))
    assert len(html) < 1_000_000
