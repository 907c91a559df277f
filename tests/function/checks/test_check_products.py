"""check_vjp and check_jvp: nested results, wrong outputs located, complex by both conventions."""

from __future__ import annotations

import pkgutil
from typing import Any

import numpy as np
import pytest
from support.products import COMPLEX_AT, jvp, mixed_jvp, mixed_vjp_jax, vjp, vjp_of_sine
from support.sent_functions import MATRIX, f, mixed

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError

pytestmark = pytest.mark.small

AT = np.array([0.5, -1.0, 2.0, 0.3])


@pytest.mark.parametrize("method", ["every", "probe"])
def test_correct_products_pass_and_agree(method: str) -> None:
    for seed in range(10):
        back = fastbp.check_vjp(f, vjp, AT, jvp=jvp, method=method, seed=seed)
        assert back.verdict == "passed", back
        forward = fastbp.check_jvp(f, jvp, AT, vjp=vjp, method=method, seed=seed)
        assert forward.verdict == "passed", forward
        assert back.arrays[-1].name == "jvp against vjp, x"


def test_a_wrong_vjp_is_located_in_argument_and_output() -> None:
    def wrong(x: np.ndarray, w: Any) -> np.ndarray:
        gradient = vjp(x, w)
        gradient[2] += 0.01 * w["wave"][3]
        return gradient

    for method in ("every", "probe"):
        report = fastbp.check_vjp(f, wrong, AT, jvp=jvp, method=method, seed=1)
        assert report.verdict == "failed"
        assert [failure.where for failure in report.failures] == ["x[2]"]
        assert any("output['wave'][3] is wrong" in note for note in report.notes)
        assert "<cotangent, jvp> is" in report.arrays[-1].reason


def test_a_vjp_that_ignores_its_cotangent_fails() -> None:
    report = fastbp.check_vjp(np.sin, lambda x, w: np.cos(x), AT, seed=0)  # noqa: ARG005
    assert report.verdict == "failed"


def test_a_wrong_jvp_is_located_in_output_and_argument() -> None:
    def wrong(x: np.ndarray, v: np.ndarray) -> Any:
        outputs = jvp(x, v)
        outputs["wave"][4] += 0.01 * v[1]
        return outputs

    report = fastbp.check_jvp(f, wrong, AT, method="probe", seed=2)
    assert [failure.where for failure in report.failures] == ["output['wave'] by x[4]"]
    assert "output['wave'][4] is wrong by x[1]" in report.notes
    report = fastbp.check_jvp(f, wrong, AT, method="every")
    assert [failure.where for failure in report.failures] == ["output['wave'] by x[4, 1]"]
    assert report.entries == 4 * (6 + 4 + 1)


@pytest.mark.long
def test_tolerances_do_not_grow_with_the_size_of_the_output() -> None:
    at = np.random.default_rng(0).normal(size=100_001)
    zero = fastbp.check_jvp(np.sin, lambda x, v: 0 * x * v, at, method="probe", seed=0)
    assert zero.verdict == "failed"
    assert zero.wrong > 99_000
    one = np.cos(at)

    def nearly(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        outputs = one * v
        outputs[70_000] += 1e-6
        return outputs + 0 * x

    report = fastbp.check_jvp(np.sin, nearly, at, method="probe", seed=0)
    assert [failure.index for failure in report.failures] == [(70_000,)]


def mixed_vjp_torch(z: np.ndarray, w: Any) -> np.ndarray:
    return np.conj(mixed_vjp_jax(z, (np.conj(w[0]), w[1])))


@pytest.mark.parametrize(
    ("convention", "vjp"), [("jax", mixed_vjp_jax), ("torch", mixed_vjp_torch)]
)
def test_complex_by_the_convention_in_force(convention: str, vjp: Any) -> None:
    for method in ("every", "probe"):
        report = fastbp.check_vjp(
            mixed, vjp, COMPLEX_AT, jvp=mixed_jvp, convention=convention, method=method, seed=3
        )
        assert report.verdict == "passed", report
        assert f"convention of {convention}" in report.notes[0]
        assert report.arrays[0].name == "z (real, imag)"
        assert report.arrays[0].shape == (3, 2)
    other = {"jax": "torch", "torch": "jax"}[convention]
    assert not fastbp.check_vjp(mixed, vjp, COMPLEX_AT, convention=other)
    assert fastbp.check_jvp(mixed, mixed_jvp, COMPLEX_AT, vjp=vjp, convention=convention)


def test_the_conventions_are_those_of_the_frameworks() -> None:
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")

    def by_torch(z: np.ndarray, w: Any) -> np.ndarray:
        leaf = torch.tensor(z, requires_grad=True)
        first = leaf * leaf[0].conj() + leaf**2
        second = (leaf.abs() ** 2).sum()
        cotangents = [torch.tensor(w[0]), torch.tensor(w[1])]
        return torch.autograd.grad([first, second], leaf, cotangents)[0].resolve_conj().numpy()

    def in_jax(z: Any) -> Any:
        return z * jax.numpy.conj(z[0]) + z**2, jax.numpy.sum(jax.numpy.abs(z) ** 2)

    def by_jax(z: np.ndarray, w: Any) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(
                jax.vjp(in_jax, jax.numpy.asarray(z))[1](
                    (jax.numpy.asarray(w[0]), jax.numpy.asarray(w[1]))
                )[0]
            )

    assert fastbp.check_vjp(mixed, by_torch, COMPLEX_AT, convention="torch").verdict == "passed"
    assert fastbp.check_vjp(mixed, by_jax, COMPLEX_AT, convention="jax").verdict == "passed"
    assert not fastbp.check_vjp(mixed, by_jax, COMPLEX_AT, convention="torch")


def test_single_precision_arguments_and_products() -> None:
    at = AT.astype(np.float32)
    matrix = MATRIX.astype(np.float32)

    def f(x: np.ndarray) -> np.ndarray:
        return np.tanh(matrix @ x)

    def vjp(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        assert x.dtype == w.dtype == np.float32
        return matrix.T @ (w / np.cosh(matrix @ x) ** 2)

    def jvp(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        assert x.dtype == v.dtype == np.float32
        return (matrix @ v) / np.cosh(matrix @ x) ** 2

    assert fastbp.check_vjp(f, vjp, at, jvp=jvp)
    assert fastbp.check_jvp(f, jvp, at, vjp=vjp)
    assert not fastbp.check_vjp(f, lambda x, w: vjp(x, w) * np.float32(1.01), at)
    assert not fastbp.check_jvp(f, lambda x, v: jvp(x, v) * np.float32(1.01), at)


def test_products_that_misbehave() -> None:
    total = np.zeros(4)

    def accumulating(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        nonlocal total
        total += np.cos(x) * w
        return total

    report = fastbp.check_vjp(np.sin, accumulating, AT)
    assert "an accumulation" in report.arrays[-1].reason

    def changing(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        outputs = np.cos(x) * v
        x[0] += 1
        return outputs

    report = fastbp.check_jvp(np.sin, changing, AT)
    assert report.arrays[-1].reason == "jvp changed its argument: x"
    calls = iter(range(10**6))
    report = fastbp.check_jvp(np.sin, lambda x, v: np.cos(x) * v + next(calls), AT)
    assert "gave two different results" in report.arrays[-1].reason

    def spoiling(x: np.ndarray) -> np.ndarray:
        outputs = np.sin(x)
        x *= 2
        return outputs

    for check, product in ((fastbp.check_vjp, vjp_of_sine), (fastbp.check_jvp, vjp_of_sine)):
        report = check(spoiling, product, AT)
        assert "f changed its argument: x" in [row.reason for row in report.arrays]


@pytest.mark.parametrize("method", ["every", "probe"])
def test_products_of_another_form_are_findings(method: str) -> None:
    report = fastbp.check_vjp(np.sin, lambda x, w: np.cos(x[:2]) * w[:2], AT, method=method)
    assert report.arrays[0].reason == "must have shape (4,), not (2,)"
    report = fastbp.check_jvp(np.sin, lambda x, v: (np.cos(x) * v)[:, None], AT, method=method)
    assert "must have shape (4,), not (4, 1)" in report.arrays[0].reason
    report = fastbp.check_jvp(np.sin, lambda x, v: [np.cos(x) * v], AT, method=method)
    assert report.arrays[0].reason == "is not given"
    report = fastbp.check_vjp(
        np.sin, vjp_of_sine, AT, jvp=lambda x, v: [np.cos(x) * v], method=method
    )
    assert report.arrays[-1].reason == "the structures do not fit"


def test_zero_products_are_vacuous() -> None:
    report = fastbp.check_vjp(lambda x: 0 * x, lambda x, w: 0 * x * w, AT)
    assert report.verdict == "vacuous"
    report = fastbp.check_jvp(lambda x: 0 * x, lambda x, v: 0 * x * v, AT)
    assert report.verdict == "vacuous"


def test_bad_input() -> None:
    with pytest.raises(OptionError, match="convention must be one of 'jax', 'torch', not 'both'"):
        fastbp.check_vjp(np.sin, vjp_of_sine, AT, convention="both")
    with pytest.raises(DTypeError, match="output must be float64, float32, complex128 or"):
        fastbp.check_jvp(lambda x: x > 0, vjp_of_sine, AT)
    with pytest.raises(ShapeError, match="output must hold at least one float"):
        fastbp.check_jvp(lambda x: [], vjp_of_sine, AT)  # noqa: ARG005
    with pytest.raises(EvaluationError, match="jvp raised TypeError at the point"):
        fastbp.check_jvp(np.sin, lambda x: x, AT)
    with pytest.raises(EvaluationError, match="vjp raised TypeError at the point"):
        fastbp.check_vjp(np.sin, lambda x: x, AT)
    changing = iter(range(10**6))
    with pytest.raises(ShapeError, match="f must always return the same structure"):
        fastbp.check_jvp(lambda x: x[: 4 - (next(changing) > 3)], vjp_of_sine, AT)


def test_no_module_hides_a_public_name() -> None:
    """A module that is imported becomes an attribute of the package."""
    modules = {module.name for module in pkgutil.iter_modules(fastbp.__path__)}
    assert modules.isdisjoint(fastbp.__all__)


def test_outputs_that_are_not_finite_are_named() -> None:
    def f(x: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            return {"root": np.sqrt(x), "log": np.log(np.abs(x))}

    def vjp(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return w["root"] / (2 * np.sqrt(x)) + w["log"] / x

    report = fastbp.check_vjp(f, vjp, np.array([1.0, -2.0, 4.0]), seed=0)
    assert report.verdict == "inconclusive"
    assert report.notes[0] == "output['root'][1] is nan at the point"
    report = fastbp.check_vjp(f, vjp, np.array([0.0, -2.0, -3.0, -4.0, -5.0]), seed=0)
    assert "output['log'][0] is -inf at the point" in report.notes
    assert "2 more outputs are not finite there" in report.notes
    right = fastbp.check_vjp(f, vjp, np.array([1.0, 2.0]), seed=0)
    assert right.verdict == "passed"
    assert not any("at the point" in note for note in right.notes)


@pytest.mark.parametrize("method", ["every", "probe"])
def test_the_outputs_beside_one_that_is_not_finite_are_judged(method: str) -> None:
    at = np.array([1.0, -2.0, 4.0])

    def root(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.sqrt(x)

    def check(slope: Any) -> fastbp.Report:
        with np.errstate(all="ignore"):
            return fastbp.check_vjp(
                root, lambda x, w: slope(x) * w, at, jvp=lambda x, v: slope(x) * v, method=method,
                seed=0,
            )  # fmt: skip

    right = check(lambda x: 0.5 / np.sqrt(x))
    assert right.verdict == "inconclusive"
    assert {row.name: row.verdict for row in right.arrays} == {
        "x": "passed", "output[1]": "inconclusive", "jvp against vjp, x": "passed"
    }  # fmt: skip
    assert "x[1] not judged: what is given is not finite, as output[1]" in right.notes
    wrong = check(lambda x: [0.5, 0.5, 0.6] / np.sqrt(x))
    assert [failure.where for failure in wrong.failures] == ["x[2]"]
    assert wrong.notes[-1].startswith("by x[2], output[2] is wrong: given 0.3, numerical 0.25")
    nothing = check(lambda x: np.sum(np.sqrt(x)) * x)
    assert nothing.verdict == "inconclusive"
    reasons = {row.name: row.reason for row in nothing.arrays}
    assert reasons["x"] == "what is given is not finite, as output[1]"


def test_outputs_in_float64_that_are_computed_in_float32_raise_no_alarm() -> None:
    matrix = np.random.default_rng(0).normal(size=(40, 40)) / 6

    def f(x: np.ndarray) -> np.ndarray:
        return np.sin(np.sum(matrix * x, axis=1)).astype(np.float32).astype(np.float64)

    def forward(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.cos(np.sum(matrix * x, axis=1)) * np.sum(matrix * v, axis=1)

    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=40)
        report = fastbp.check_jvp(f, forward, x, method="probe", seed=seed)
        assert report.verdict == "passed", report
        report = fastbp.check_jvp(
            f, lambda x, v: forward(x, v) * (np.arange(40) != 7), x, method="probe", seed=seed
        )
        assert [failure.index for failure in report.failures] == [(7,)], report


def test_what_rounding_leaves_of_zero_need_not_add_up() -> None:
    """As the gradient of a bias before a normalisation."""
    rng = np.random.default_rng(0)

    def f(p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return p["x"] ** 2, 3 * p["x"]

    def vjp(p: dict[str, np.ndarray], w: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        noise = np.where(w[0].any() and w[1].any(), 1e-17, 1e-17 * rng.normal())
        return {"bias": np.full(3, noise), "x": 2 * p["x"] * w[0] + 3 * w[1]}

    at = {"bias": np.ones(3), "x": np.linspace(0.5, 1.0, 3)}
    report = fastbp.check_vjp(f, vjp, at, seed=0)
    assert [row.verdict for row in report.arrays] == ["untested", "passed"]


@pytest.mark.parametrize("method", ["every", "probe"])
def test_an_output_beside_one_that_is_not_given_is_judged(method: str) -> None:
    report = fastbp.check_jvp(
        lambda x: (np.sin(x), x**2), lambda x, v: (None, 2.1 * x * v), AT, method=method, seed=0
    )
    first, second = sorted(report.arrays, key=lambda row: row.name)
    assert (first.verdict, first.reason) == ("failed", "is not given")
    assert (second.verdict, second.name) == ("failed", "output[1] by x")


def test_of_a_complex_output_that_is_not_finite_neither_part_is_judged() -> None:
    def square(z: np.ndarray) -> np.ndarray:
        return np.where([False, True, False], np.nan, z * z)

    at = np.array([0.5, 1.0, -2.0]) + 1j
    report = fastbp.check_vjp(square, lambda z, w: 2 * z * w, at, seed=0)
    assert {row.name: row.verdict for row in report.arrays} == {
        "z (real, imag)": "passed", "output[1].real, output[1].imag": "inconclusive"
    }  # fmt: skip
