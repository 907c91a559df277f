"""A function of tensors: what torch makes of its derivatives, checked."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastbp.errors import EvaluationError
from fastbp.function.checks.check_gradient import check_gradient
from fastbp.function.checks.check_products import check_jvp, check_vjp
from fastbp.function.checks.report_assembly import (
    followed_by,
    limits_left,
    noting_scalar_cotangent,
    with_rows,
)
from fastbp.function.containers.calls import keywords_of
from fastbp.function.containers.chosen_entries import chosen_entries
from fastbp.function.containers.point import Point
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.function.methods.options import DEFAULTS, checked_options, takes_check_options
from fastbp.runtime.progress import outer_progress_bar
from fastbp.runtime.validation import require_bool, require_callable, require_order
from fastbp.torch.autodiff.arguments import Arguments
from fastbp.torch.autodiff.arithmetic import without_warnings_of_ours
from fastbp.torch.autodiff.half_precision import (
    EVALUATIONS_ALONG,
    compared_in_half,
    half_dtype,
    half_inside,
    judged_along,
)
from fastbp.torch.autodiff.hand_written import findings_of_hand_written, has_forward_mode
from fastbp.torch.autodiff.incoming import (
    CHANNELS_LAST,
    AtThePoint,
    batched_findings,
    channels_last,
    expanded,
    products_differ,
    random_cotangent,
    scattered,
)
from fastbp.torch.autodiff.precision import InDouble
from fastbp.torch.autodiff.second_order import backward_pass
from fastbp.torch.autodiff.tensor_function import TensorFunction
from fastbp.torch.confirmation import confirmed
from fastbp.torch.state import with_gradients
from fastbp.torch.tensors import HALF_UNITS, array_of
from fastbp.verdict.arrays import check_verdict
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastbp.function.methods.options import CheckOptions, Options
    from fastbp.report import Report
    from fastbp.runtime.progress import Advance

__all__ = ["check_function"]

FORWARD_MODE = "f has a forward mode of its own: forward_ad=True checks it too"
IN_PLACE = "the backward pass changes its incoming gradient in place"
ANOTHER_ORDER = "of axes in another order, with gaps"
AS_A_WHOLE = "along random directions; single entries are below the rounding"
# Of a gradient that is computed, and differenced, in half precision: some roundings of it.
HALF_ROUNDINGS = 32


@with_gradients
@takes_check_options
def check_function(
    f: Callable[..., Any],
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    order: int = 1,
    forward_ad: bool = False,
    batched: bool = False,
    **options: Any,
) -> Report:
    """Check what ``torch.autograd`` makes of a function.

    Parameters
    ----------
    f : callable
        ``f(*inputs, **kwargs)`` returns a tensor, or a nesting of tensors and anything else.
    *inputs : Tensor, nesting of tensors, or anything else
        Where. Checked is the derivative by tensors of real or complex floats, in 16 bits at least:
        by all, or, where some require a gradient, by those alone. All else is held fixed: integers,
        booleans, strings, None. float32 is differenced in float64 if f takes that.
    kwargs : mapping, optional
        Keyword arguments of f, alike. A keyword that is no option of this check may also be given
        as it is.
    order : {1, 2}
        2: also the derivative of the backward pass, by the inputs and by a random incoming
        gradient, as ``torch.autograd.gradgradcheck``.
    forward_ad : bool
        Also the forward mode, along a random tangent of each input (of each entry with
        ``method="every"``).
    batched : bool
        Also the backward pass for several incoming gradients at once (``is_grads_batched``, which
        is vmap), against one after the other.
    **options

    Returns
    -------
    Report
        Rows are named as ``inputs[0]`` or ``inputs['name']``; those of sparse tensors are by the
        numbers that they store. Outputs that are no floats, and those that require no gradient
        beside others that do, are not checked: a note names them.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient` and `check_vjp`. An `EvaluationError` says whether it was f that
        raised, its backward pass, or its forward mode.

    Notes
    -----
    As `check_gradient` where f returns one real number of real inputs, else as `check_vjp`; the
    incoming gradient is random, and never 1. Complex numbers by PyTorch's convention. Inputs
    keep their memory layout; incoming gradients are contiguous, expanded, with their axes in
    another order, in ``channels_last``, and undefined. A backward pass that somebody wrote is also
    asked twice of one graph, where only some of the inputs require a gradient, and where outputs
    have an incoming gradient of zeros. On the device of the inputs. A
    function with a derivative inside (forces, gradient penalties) is evaluated with a graph.
    Gradients of re-entrant checkpoints are those that accumulate; they have no second order. Where
    f draws random numbers it gets the same ones in each call.

    bfloat16 and float16, of the inputs or inside f (``torch.autocast``): differenced is the same
    program with every number in float64; the derivative in half precision may be off from that one
    by the rounding of its operations, which is measured. Where f does not compute in float64 it is
    differenced as it is, and each tensor is judged along random directions: by a factor, a sign or
    a missing term, not by single entries.

    Examples
    --------
    >>> import fastbp.torch
    >>> import torch
    >>> fastbp.torch.check_function(lambda x: torch.sin(x).sum(), torch.ones(3)).verdict
    'passed'
    >>> x = torch.linspace(0.5, 2.0, 4, dtype=torch.float64)
    >>> report = fastbp.torch.check_function(torch.cumsum, x, dim=0, order=2, seed=0)
    >>> report.verdict, [row.name for row in report.arrays][-1]
    ('passed', "backward by inputs['incoming gradient'][0]")
    """
    require_callable(f, "f")
    keywords, options = keywords_of(f, kwargs, options, DEFAULTS)
    require_order(order)
    require_bool(forward_ad, "forward_ad")
    require_bool(batched, "batched")
    with without_warnings_of_ours():
        return _report(f, inputs, keywords, options, order, forward_ad, batched)


def _report(
    f: Callable[..., Any],
    inputs: Any,
    keywords: dict[str, Any],
    options: dict[str, Any],
    order: int,
    forward_ad: bool,
    batched: bool,
) -> Report:
    """Make the checks that were asked for, one after the other."""
    validated = checked_options(cast("CheckOptions", options))
    seed = options["seed"] = validated.seed
    shown = options.get("progress")
    with outer_progress_bar(shown, "evaluations") as advance:
        function = _function_of(f, inputs, keywords, seed)
        tolerant = _tolerant(options, function)
        report = _checked(function, tolerant, validated, advance, forward_ad=forward_ad)
    report = _along_in_half(report, function, limits_left(options, report))
    if forward_ad:
        forward = _named(function.outputs, function)
        along = {"method": "probe"} if options.get("method", "auto") == "auto" else {}

        def check_forward() -> Report:
            left = limits_left(options, report)
            return check_jvp(
                forward, function.jvp, function.arguments.at, convention="torch", **left | along
            )

        report = followed_by(report, check_forward, "forward: ")
    if batched:
        found_batched = batched_findings(function, np.random.default_rng((seed, 5)))
        report = _failing(report, found_batched, "batched backward")
    if order == 2:
        left, rng = limits_left(options, report), np.random.default_rng((seed, 6))
        validated = checked_options(cast("CheckOptions", left))
        with outer_progress_bar(shown, "evaluations") as advance:
            report = followed_by(
                report,
                lambda: _checked(
                    backward_pass(function, rng), left, validated, advance, forward_ad=True
                ),
                "backward by ",
            )
    return _beside_half(report, function, inputs, keywords)


def _function_of(
    f: Callable[..., Any], inputs: Any, keywords: dict[str, Any], seed: int
) -> TensorFunction:
    """Return f at the point, in float64 instead of half precision where that is possible."""
    arguments = Arguments(inputs, keywords)
    own = half_dtype(arguments)
    half = own or half_inside(f, arguments, seed)
    if half is None:
        return TensorFunction(f, arguments, seed)
    try:
        in_double = Arguments(inputs, keywords, in_double=True)
        return TensorFunction(f, in_double, seed, surrounding=InDouble, half=half)
    except EvaluationError as error:
        if own is None:
            return TensorFunction(f, arguments, seed, half=half)
        as_given = Arguments(inputs, keywords, in_double=False)
        function = TensorFunction(f, as_given, seed, half=half)
        function.notes.append(f"differenced in half precision: in float64 {error}")
        return function


def _named(evaluate: Callable[[Any], Any], function: TensorFunction) -> Callable[[Any], Any]:
    def named(inputs: Any) -> Any:
        return evaluate(inputs)

    named.__name__ = function.__name__
    return named


def _checked(
    function: TensorFunction, options: dict[str, Any], validated: Options, advance: Advance,
    *, forward_ad: bool,
) -> Report:  # fmt: skip
    """Check the backward pass, with incoming gradients of every kind.

    Unless `forward_ad` is asked for, a note says that there is such a mode.
    """
    if function.scalar:
        # Not with 1: a backward pass that forgets its incoming gradient would pass.
        scale = scalar_cotangent(options["seed"])
        [output] = function.results.tensors_at_first
        weights = [np.full_like(array_of(output), scale)]
    else:
        scale = 1.0
        weights = random_cotangent(function, np.random.default_rng(options["seed"]))
    here = AtThePoint(function, weights, options.get("noise", 0.0))
    report = confirmed(here, scale, options, validated, advance)
    if report is None:
        report = _differenced(here, scale, options)
    if report.verdict != "failed":
        report = _asked_otherwise(report, here, options)
    if report.verdict != "failed":
        found = findings_of_hand_written(here, options["seed"])
        report = _failing(report, found, "backward")
    report = _failing(report, [IN_PLACE] if function.changed else [], "backward")
    unasked = not forward_ad and has_forward_mode(here.graph[1])
    notes = (*function.notes, *((FORWARD_MODE,) if unasked else ()))
    return replace(report, notes=(*report.notes, *notes)) if notes else report


def _differenced(here: AtThePoint, scale: float, options: dict[str, Any]) -> Report:
    """Check by the general methods; a gradient is what comes back over `scale`."""
    function, at = here.function, here.function.arguments.at
    if not function.scalar:
        evaluate = _named(function.outputs, function)
        return check_vjp(evaluate, function.vjp, at, convention="torch", **options)
    nested = function.results.nested(here.weights)

    def gradient(inputs: Any) -> Any:
        products = function.vjp(inputs, nested)
        return function.arguments.mapped(lambda product: product / scale, products)

    report = check_gradient(_named(function.number, function), gradient, at, **options)
    return noting_scalar_cotangent(report, scale)


def _asked_otherwise(report: Report, here: AtThePoint, options: dict[str, Any]) -> Report:
    """Ask with incoming gradients that are undefined, or no contiguous arrays."""
    report = _failing(report, here.undefined_findings(), "backward")
    if report.verdict == "failed" or not here.function.has_layouts:
        return report
    return _asked_in_other_layouts(report, here, options)


def _asked_in_other_layouts(report: Report, here: AtThePoint, options: dict[str, Any]) -> Report:
    """Ask with incoming gradients that are no contiguous arrays; check anew where that matters.

    That of a sum is expanded, that of a transpose has its axes in another order.
    """
    function = here.function
    at, results = function.arguments.at, function.results
    ones = [np.ones_like(part) for part in here.weights]
    nested_ones = results.nested(ones)

    def total(inputs: Any) -> Any:
        return sum(np.sum(part) for part in results.flat(function.outputs(inputs)))

    layouts = [(expanded, "expanded"), (scattered, ANOTHER_ORDER)]
    if any(tensor.ndim in CHANNELS_LAST for tensor in results.tensors_at_first):
        layouts.append((channels_last, "in the memory format channels_last"))
    for layout, what in layouts:
        weights = ones if layout is expanded else here.weights
        plain = here.asked(weights) if layout is expanded else here.product
        try:
            other = here.again if layout is scattered else here.asked(weights, layout)
        except EvaluationError as error:  # what a backward pass does not take is no wrong gradient
            note = f"the backward pass raised for an incoming gradient {what}: {error.__cause__}"
            report = replace(report, notes=(*report.notes, note))
            continue
        if not products_differ(plain, other, here.noise):
            continue
        if layout is expanded:
            again = check_gradient(
                total, lambda inputs: function.vjp(inputs, nested_ones, expanded), at, **options
            )
        else:
            again = check_vjp(function.outputs, partial(function.vjp, layout=layout), at, **options)
        if again.verdict == "failed":
            note = f"wrong for an incoming gradient {what}, right for a contiguous one"
            return replace(again, notes=(*again.notes, note), function=report.function)
    return report


def _tolerant(options: dict[str, Any], function: TensorFunction) -> dict[str, Any]:
    """Allow for the rounding of half precision where f is differenced in it."""
    if function.half is None or function.surrounding is InDouble:
        return options
    if options.get("rtol") is not None or options.get("atol") is not None:
        return options
    share = HALF_ROUNDINGS * HALF_UNITS[function.half]
    cotangent = random_cotangent(function, np.random.default_rng((options["seed"], 4)))
    products = function.vjp(function.arguments.at, function.results.nested(cotangent))
    arrays = function.arguments.arrays_of(products)
    largest = max(float(np.max(np.abs(array), initial=0.0)) for array in arrays)
    return options | {"rtol": share, "atol": share * largest}


def _beside_half(
    report: Report, function: TensorFunction, inputs: Any, keywords: dict[str, Any]
) -> Report:
    """Add rows for the derivative in half precision, where f was differenced in float64."""
    dtype = function.half
    if dtype is None or function.surrounding is not InDouble:
        return report
    name = str(dtype).removeprefix("torch.")
    rows = [
        bare_row(f"{leaf_name} in {name}", tuple(leaf.numbers.shape), 0, row.verdict, row.reason)
        for leaf_name, leaf, row in zip(
            function.arguments.names,
            function.arguments.leaves,
            compared_in_half(function, inputs, keywords, dtype, function.seed),
            strict=True,
        )
    ]
    return with_rows(replace(report, dtype=f"{name}, differenced in float64"), rows)


def _along_in_half(report: Report, function: TensorFunction, left: dict[str, Any]) -> Report:
    """Look along directions where f was differenced in half precision: entries are below that."""
    dtypes = [leaf.half for leaf in function.arguments.leaves if leaf.half is not None]
    if not dtypes or not function.real or report.verdict == "failed":
        return report
    count = EVALUATIONS_ALONG * len(function.arguments.leaves)
    limit = _limit_reached(report, left, count)
    if limit:
        note = f"not judged along directions, which takes {count} evaluations: {limit}"
        return replace(report, notes=(*report.notes, note))
    dtype = max(dtypes, key=lambda one: HALF_UNITS[one])
    names, rows = function.arguments.names, {row.name: row for row in report.arrays}
    point = Point(function.arguments.at, "inputs")
    chosen = chosen_entries(left.get("entries"), point, function.seed)
    masks = None if chosen is None else chosen.masks
    wrong = []
    judged = judged_along(function, dtype, function.seed, masks)
    for name, found in zip(names, judged, strict=True):
        row = rows.get(name)
        if found.verdict == "failed":
            whole = "as a whole" if masks is None else "as far as chosen"
            wrong.append(bare_row(f"{name} {whole}", (), 0, "failed", found.reason))
        elif found.verdict == "passed" and row is not None and row.verdict == "inconclusive":
            rows[name] = replace(row, verdict="passed", reason=AS_A_WHOLE)
    own = [row.verdict for row in rows.values() if row.name in names]
    others = [row.verdict for row in rows.values() if row.name not in names]
    report = replace(
        report, verdict=check_verdict(own, others), arrays=tuple(rows.values()),
        evaluations=report.evaluations + count,
    )  # fmt: skip
    return with_rows(report, wrong)


def _limit_reached(report: Report, left: dict[str, Any], count: int) -> str:
    """Say which limit does not leave so many more evaluations; empty if none."""
    if (left.get("max_evaluations") or count) < count:
        return "max_evaluations is reached"
    each = report.seconds / max(report.evaluations, 1)
    budget = left.get("budget")
    return "" if budget is None or count * each <= budget else "the budget is used up"


def _failing(report: Report, findings: list[str], name: str) -> Report:
    """Add a failed row for each finding."""
    return with_rows(report, [bare_row(name, (), 0, "failed", finding) for finding in findings])
