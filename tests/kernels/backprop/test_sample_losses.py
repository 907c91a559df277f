"""The losses of the kernels, to their last digits."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest
from fastbp.kernels.backprop import sample_losses as losses
from hypothesis import given
from hypothesis import strategies as st
from support.kernel_arrays import GUARD

pytestmark = pytest.mark.processor

SOFTMAX, SIGMOID, LEAST_SQUARES = losses.SOFTMAX, losses.SIGMOID, losses.LEAST_SQUARES
EPS = float(np.finfo(np.float64).eps)


@numba.njit
def loss_by_kernel(loss, outputs, targets, labels):
    return losses.sample_loss(loss, outputs.size, outputs, 0, 1, targets, 0, 1, labels, 0)


@numba.njit
def sensitivity_by_kernel(loss, outputs, targets, labels, factor, result):
    losses.sample_sensitivity(
        loss, outputs.size, outputs, 0, 1, targets, 0, 1, labels, 0, factor, result
    )


NO_LABELS = np.empty(0, np.int64)
NO_TARGETS = np.empty(0)


def exactly(values: np.ndarray) -> list[Decimal]:
    return [Decimal(float(value)) for value in values]


def exact_softmax(outputs: np.ndarray, targets: list[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """sum_k y_k (log sum_j exp(o_j) - o_k), and p_k sum(y) - y_k."""
    logits = exactly(outputs)
    largest = max(logits)
    powers = [(value - largest).exp() for value in logits]
    total = sum(powers, Decimal(0))
    mass = sum(targets, Decimal(0))
    loss = sum(
        (y * (total.ln() - (o - largest)) for y, o in zip(targets, logits, strict=True)),
        Decimal(0),
    )
    slope = [p / total * mass - y for p, y in zip(powers, targets, strict=True)]
    return loss, slope


def exact_sigmoid(outputs: np.ndarray, targets: list[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """sum_k log(1 + exp(o_k)) - y_k o_k, and 1 / (1 + exp(-o_k)) - y_k."""
    logits = exactly(outputs)
    loss = sum(
        ((1 + o.exp()).ln() - y * o for y, o in zip(targets, logits, strict=True)), Decimal(0)
    )
    return loss, [1 / (1 + (-o).exp()) - y for y, o in zip(targets, logits, strict=True)]


def exact_squares(outputs: np.ndarray, targets: list[Decimal]) -> tuple[Decimal, list[Decimal]]:
    residuals = [o - y for o, y in zip(exactly(outputs), targets, strict=True)]
    return sum((r * r for r in residuals), Decimal(0)), [2 * r for r in residuals]


EXACT = {SOFTMAX: exact_softmax, SIGMOID: exact_sigmoid, LEAST_SQUARES: exact_squares}
DIGITS = 700  # enough to see exp(-745) beside 1


def by_kernel(
    loss: int, outputs: np.ndarray, targets: np.ndarray, labels: np.ndarray, factor: float = 1.0
) -> tuple[float, np.ndarray]:
    result = np.full(outputs.size, np.nan, outputs.dtype)
    sensitivity_by_kernel(loss, outputs, targets, labels, factor, result)
    return float(loss_by_kernel(loss, outputs, targets, labels)), result


def assert_close(value: float, exact: Decimal, *, relative: float, absolute: float) -> None:
    """Against a number of many digits; the smallest subnormals are as good as 0."""
    assert np.isfinite(value)
    allowed = Decimal(relative) * abs(exact) + Decimal(absolute) + Decimal("5e-323")
    assert abs(Decimal(value) - exact) <= allowed


LOGITS = st.lists(
    st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, 1e4, -1e4, 745.0, -745.0, 37.0, -37.0]),
    min_size=1,
    max_size=6,
)


def differences_lose(outputs: np.ndarray) -> float:
    """Relative error of exp(o_j - o_k): half an ulp of a difference that matters, 745 at most."""
    return EPS * (8 + outputs.size + min(745.0, 2 * float(np.abs(outputs).max())))


@pytest.mark.small
@given(logits=LOGITS, data=st.data())
def test_softmax_of_a_class_keeps_its_digits(logits, data):
    """However confident the network is: to relative precision, where 1 - p would be 0."""
    outputs = np.array(logits)
    label = data.draw(st.integers(0, outputs.size - 1))
    value, slope = by_kernel(SOFTMAX, outputs, NO_TARGETS, np.array([label]))
    with localcontext(prec=DIGITS):
        one_hot = [Decimal(int(k == label)) for k in range(outputs.size)]
        exact, exact_slope = exact_softmax(outputs, one_hot)
        relative = differences_lose(outputs)
        assert_close(value, exact, relative=relative, absolute=0)
        for own, expected in zip(slope, exact_slope, strict=True):
            assert_close(own, expected, relative=relative, absolute=0)


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
@given(logits=LOGITS, data=st.data())
def test_losses_with_targets(loss, logits, data):
    outputs = np.array(logits)
    size = outputs.size
    targets = np.array(data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size)))
    value, slope = by_kernel(loss, outputs, targets, NO_LABELS)
    with localcontext(prec=DIGITS):
        exact, exact_slope = EXACT[loss](outputs, exactly(targets))
        relative = differences_lose(outputs)
        reach = float(np.abs(outputs).max())
        assert_close(value, exact, relative=relative, absolute=4 * EPS * size * (1 + reach))
        for own, expected in zip(slope, exact_slope, strict=True):
            assert_close(own, expected, relative=relative, absolute=4 * EPS * size)


@pytest.mark.small
def test_confident_networks_by_number():
    """A margin of 100: the loss is exp(-100), not 0; the wrong way round it is 100."""
    outputs = np.array([100.0, 0.0])
    value, slope = by_kernel(SOFTMAX, outputs, NO_TARGETS, np.array([0]))
    assert value == pytest.approx(np.exp(-100.0), rel=1e-14)
    np.testing.assert_allclose(slope, [-np.exp(-100.0), np.exp(-100.0)], rtol=1e-14)
    value, slope = by_kernel(SOFTMAX, outputs, NO_TARGETS, np.array([1]))
    assert value == 100.0
    np.testing.assert_allclose(slope, [1.0, -1.0], rtol=1e-15)
    value, _ = by_kernel(SIGMOID, np.array([100.0, -100.0]), np.array([1.0, 0.0]), NO_LABELS)
    assert value == pytest.approx(2 * np.exp(-100.0), rel=1e-14)
    value, slope = by_kernel(SIGMOID, np.array([-1e4, 1e4]), np.array([1.0, 0.0]), NO_LABELS)
    assert value == 2e4
    np.testing.assert_array_equal(slope, [-1.0, 1.0])


@pytest.mark.small
def test_equal_logits_divide_evenly():
    value, slope = by_kernel(SOFTMAX, np.full(4, -3e3), NO_TARGETS, np.array([2]))
    assert value == pytest.approx(np.log(4.0), rel=1e-15)
    np.testing.assert_allclose(slope, [0.25, 0.25, -0.75, 0.25], rtol=1e-15)


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
def test_float32_outputs_are_computed_in_float64(loss, rng):
    outputs = rng.standard_normal(5).astype(np.float32)
    targets = rng.random(5).astype(np.float32)
    value, slope = by_kernel(loss, outputs, targets, NO_LABELS, factor=0.25)
    exact, exact_slope = by_kernel(
        loss, outputs.astype(float), targets.astype(float), NO_LABELS, factor=0.25
    )
    assert value == exact
    assert slope.dtype == np.float32
    np.testing.assert_array_equal(slope, exact_slope.astype(np.float32))


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
def test_losses_read_and_write_with_their_strides(loss, rng):
    """A sample is one lane of a panel; what lies between is not touched."""
    outputs, targets = rng.standard_normal(4), rng.random(4)
    value, slope = by_kernel(loss, outputs, targets, NO_LABELS)
    spread = np.full(2 + 4 * 3, GUARD)
    spread[2::3] = outputs
    spread_targets = np.full(1 + 4 * 5, GUARD)
    spread_targets[1::5] = targets
    result = np.full(spread.size, GUARD)
    arguments = (loss, 4, spread, 2, 3, spread_targets, 1, 5, NO_LABELS, 0)
    assert strided_loss(*arguments) == value
    strided_sensitivity(*arguments, 1.0, result)
    np.testing.assert_array_equal(result[2::3], slope)
    result[2::3] = GUARD
    assert np.all(result == GUARD)


@numba.njit
def strided_loss(*arguments):
    return losses.sample_loss(*arguments)


@numba.njit
def strided_sensitivity(*arguments):
    losses.sample_sensitivity(*arguments)


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
def test_losses_of_nan_are_nan(loss):
    value, slope = by_kernel(loss, np.array([np.nan, 1.0]), np.array([0.5, 0.5]), NO_LABELS)
    assert np.isnan(value)
    assert np.isnan(slope[0])
