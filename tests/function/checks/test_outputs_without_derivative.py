"""Single outputs that cannot be judged are named: they jump, are steep, or are no numbers."""

from __future__ import annotations

import numpy as np

import fastbp

AT = np.array([0.3, 1.0, -0.7])


def uneven(x: np.ndarray) -> np.ndarray:
    return np.array([np.sin(x[0]), np.floor(x[1]) + x[2], np.sqrt(abs(x[0] - 0.3)), x[0] * x[1]])


def jacobian(x: np.ndarray) -> np.ndarray:
    return np.array([[np.cos(x[0]), 0, 0], [0, 0, 1], [0, 0, 0], [x[1], x[0], 0]])


def with_nan(x: np.ndarray) -> np.ndarray:
    return np.array([np.sin(x[0]), np.nan * x[1], x[0] * x[1]])


def reason_of(report: fastbp.Report) -> str:
    assert report.verdict == "inconclusive"
    return report.arrays[0].reason


def test_a_jvp_names_outputs_along_a_random_tangent() -> None:
    report = fastbp.check_jvp(uneven, lambda x, v: jacobian(x) @ v, AT, method="probe", seed=0)
    assert reason_of(report) == (
        "f jumps at output[1]; f has an infinite slope at output[2]; the other 2 agree"
    )


def test_a_jvp_names_outputs_and_by_which_entry() -> None:
    report = fastbp.check_jvp(uneven, lambda x, v: jacobian(x) @ v, AT, method="every", seed=0)
    assert reason_of(report) == (
        "f has an infinite slope at output[2], by x[0]; the other 3 agree; "
        "f jumps at output[1], by x[1]; the other 3 agree"
    )


def test_a_jvp_names_outputs_that_are_no_numbers() -> None:
    rows = [0, 3, 3]
    report = fastbp.check_jvp(
        with_nan, lambda x, v: jacobian(x)[rows] @ v, AT, method="probe", seed=0
    )
    assert reason_of(report) == "output[1] is not finite at the point; the other 2 agree"


def test_a_wrong_output_beside_them_still_fails() -> None:
    report = fastbp.check_jvp(uneven, lambda x, v: -jacobian(x) @ v, AT, seed=0)
    assert report.verdict == "failed"


def test_a_jacobian_names_entries() -> None:
    report = fastbp.check_jacobian(uneven, jacobian(AT), AT, method="every")
    assert reason_of(report).endswith(": jacobian[1, 1], jacobian[2, 0]")
