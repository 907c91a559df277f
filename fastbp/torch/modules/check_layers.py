"""Each layer of a torch module on its own, with the inputs and cotangents that really reach it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.errors import EvaluationError, FastbpError
from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.checks.scalar_check import check_scalar
from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.containers.point import Point
from fastbp.function.evaluation import Function
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.runtime.progress import progress_bar
from fastbp.torch.autodiff.hand_written import findings_where_some_are_fixed
from fastbp.torch.layout import as_given, copied_in_layout
from fastbp.torch.modules.directional import DirectionalDifference
from fastbp.torch.modules.exclusion import StandIns
from fastbp.torch.modules.layer_calls import (
    LayerCall,
    Recorder,
    count_of_layers,
    has_no_children,
    shown_path,
)
from fastbp.torch.modules.nesting import changed_tensors, is_movable, named_arguments
from fastbp.torch.modules.own_precision import off_in_half_precision
from fastbp.torch.modules.scalar_functions import (
    Alone,
    Counter,
    Whole,
    evaluated,
    gradients_of,
    numbers_of,
    tensor_of,
)
from fastbp.torch.state import buffers_of, restore_buffers
from fastbp.verdict.arrays import check_verdict
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.methods.options import Options
    from fastbp.report import ArrayReport
    from fastbp.torch.autodiff.arithmetic import Arithmetic


__all__ = ["Subject", "check_layers"]

MOST_ALONE = 8  # tensors of a layer in half precision, each of which is looked at
INSIDE = "since a layer of it is wrong"
NO_GRAPH = "is called under {how} only"
CHANGED = "its backward pass changes its {} in place"
NO_GRADIENT = (
    "{name} gets no gradient from the backward pass and was held fixed: give it with "
    "requires_grad=True to have that judged"
)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is checked, and how it is called.

    Attributes
    ----------
    module : torch.nn.Module
        A copy that may be changed.
    given : tuple
        Its positional arguments and its keywords.
    wanted : list of bool
        Of which float tensors in there a gradient is wanted.
    chosen : bool
        Whether the user chose them, by tensors that require one.
    loss : callable
        From its output to a number.
    arithmetic : Arithmetic
    excluded : list of str
        Paths of the parts that are not judged.
    half : Subject or None
        The same in half precision, where it is that of the user's module.
    """

    module: torch.nn.Module
    given: tuple[tuple[Any, ...], dict[str, Any]]
    wanted: list[bool]
    chosen: bool
    loss: Callable[[Any], torch.Tensor]
    arithmetic: Arithmetic
    excluded: list[str]
    half: Subject | None = None


def check_layers(subject: Subject, options: Options) -> FunctionCheck:
    """Check each layer, and the whole; look closely at what disagrees."""
    for one in (subject, subject.half):
        for part in one.module.modules() if one else ():
            scripted = isinstance(part, torch.jit.ScriptModule)
            if getattr(part, "inplace", False) is True and not scripted:
                # Else a layer's output overwrites the input that it is judged by.
                vars(part)["inplace"] = False
    return _Check(subject, options).run()


class _Check:
    """The check of one module."""

    def __init__(self, subject: Subject, options: Options) -> None:
        self.subject, self.options = subject, options
        self.counted = Counter()
        self.buffers = buffers_of(subject.module)
        self.notes: list[str] = []
        self.without_graph: dict[str, tuple[str, str]] = {}
        self.stand_ins: StandIns | None = None

    def run(self) -> FunctionCheck:
        """Check all calls of layers, then the whole."""
        checks = []
        # From the first pass of the whole on, of which one alone may take seconds.
        with progress_bar(self.options.progress, None, "layers") as advance:
            recorded = self._recorded(keeps_parents=False)
            excluded = [call for call in recorded if call.path in self.subject.excluded]
            calls = [call for call in recorded if not call.holds_calls and call not in excluded]
            advance.expect(len(calls) + 1)
            if excluded:
                self.stand_ins = StandIns(excluded, self.subject.arithmetic, self.counted)
            self._note_excluded(excluded)
            for call in calls:
                checks.append(self._of_call(call))
                advance(1)
            wrong = [call.path for call, check in zip(calls, checks, strict=True) if failed(check)]
            called = {call.path for call in recorded}
            for path, (name, how) in self.without_graph.items():
                if shown_path(path) not in called:
                    row = bare_row(name, (), 0, "untested", NO_GRAPH.format(how=how))
                    checks.append(single_row(row))
            checks += self._of_whole(wrong)
            advance(1)
        if subject_in_half := self.subject.half:
            checks += self._in_half(subject_in_half, wrong)
        counted = self.counted
        note = (
            f"{len(calls)} calls of layers, each on its own; {counted.forward} forward passes of "
            f"layers and {counted.backward} backward; seed {self.options.seed}"
        )
        return FunctionCheck(
            rows=tuple(row for check in checks for row in check.rows),
            others=tuple(row for check in checks for row in check.others),
            failures=tuple(some for check in checks for some in check.failures),
            method="layers",
            evaluations=counted.forward,
            notes=(note, *self.notes, *(note for check in checks for note in check.notes)),
            at_least=any(check.at_least for check in checks),
        )

    def _in_half(self, half: Subject, wrong: list[str]) -> list[FunctionCheck]:
        """Compare layers in half precision with what they are in float64."""
        name = str(half.arithmetic.dtype).removeprefix("torch.")
        parts = {shown_path(path): part for path, part in self.subject.module.named_modules()}
        checks = []
        try:
            for call in _Check(half, self.options)._recorded(keeps_parents=False):
                if call.holds_calls or not call.reached or call.path in {*wrong, *half.excluded}:
                    continue
                reason = off_in_half_precision(
                    call, parts, half.arithmetic, self.subject.arithmetic
                )
                if reason:
                    row = bare_row(f"{call.name}, in {name}", (), 0, "failed", reason)
                    checks.append(single_row(row))
        except EvaluationError as error:
            self.notes.append(f"not compared in {name}: {error}")
        else:
            self.notes.append(f"checked in float64, and each layer in {name} compared with that")
        return checks

    def _note_excluded(self, calls: list[LayerCall]) -> None:
        if self.subject.excluded:
            called = {call.path: call.name for call in calls}
            names = ", ".join(called.get(path, path) for path in self.subject.excluded)
            self.notes.append(f"left out, and not judged: {names}")

    def _recorded(self, *, keeps_parents: bool) -> list[LayerCall]:
        """Run the whole once, forward and backward, and keep what reaches each part."""
        subject = self.subject
        restore_buffers(self.buffers)
        recorder = Recorder(
            subject.module, subject.excluded.__contains__, keeps_parents=keeps_parents
        )
        try:
            with recorder, subject.arithmetic.calling():
                unreached = self._real_pass(recorder)
        except RuntimeError as error:
            if "use_reentrant" in str(error) and not subject.arithmetic.accumulates:
                arithmetic = replace(subject.arithmetic, accumulates=True)
                self.subject = replace(subject, arithmetic=arithmetic)
                return self._recorded(keeps_parents=keeps_parents)
            raise
        finally:
            restore_buffers(self.buffers)
        layers = count_of_layers(subject.module)
        self.counted.forward += layers
        self.counted.backward += layers
        if unreached and not subject.chosen:
            self._hold_fixed(unreached)
            return self._recorded(keeps_parents=keeps_parents)
        self.without_graph = recorder.without_graph
        return recorder.kept_calls()

    def _real_pass(self, recorder: Recorder) -> list[int]:
        """Run the whole; return the places of the inputs that get no gradient."""
        subject = self.subject
        flags = iter(subject.wanted)
        leaves: list[torch.Tensor] = []

        def leaf(tensor: torch.Tensor) -> torch.Tensor:
            if not (is_movable(tensor) and next(flags)):
                return copied_in_layout(tensor)
            leaves.append(tensor.detach().clone().requires_grad_())
            given: torch.Tensor = as_given(leaves[-1], tensor)
            return given

        try:
            arguments, keywords = changed_tensors(leaf, subject.given)
            result = subject.loss(subject.module(*arguments, **keywords))
            parameters = [one for one in subject.module.parameters() if one.requires_grad]
            if not leaves and not parameters:
                return []
            if not result.requires_grad:
                raise EvaluationError(
                    "module returns nothing that requires a gradient: it detaches its output, or "
                    "computes it under torch.no_grad()."
                )
            recorder.in_backward = True
            # Not with 1: a layer that forgets its incoming gradient would pass.
            cotangent = torch.full_like(result, scalar_cotangent(subject.arithmetic.seed))
            found = gradients_of([result], [cotangent], [*leaves, *parameters], subject.arithmetic)
        except FastbpError:
            raise
        except Exception as error:
            if "use_reentrant" in str(error) and not subject.arithmetic.accumulates:
                raise
            raise EvaluationError(_what_raised(error, recorder)) from error
        return [place for place in range(len(leaves)) if found[place] is None]

    def _hold_fixed(self, unreached: list[int]) -> None:
        """Leave inputs alone that get no gradient, unless the user asked for it."""
        tensors = named_arguments(self.subject.given)
        names = [name for name, tensor in tensors if is_movable(tensor)]
        wanted = list(self.subject.wanted)
        places = [place for place, flag in enumerate(wanted) if flag]
        for place in unreached:
            wanted[places[place]] = False
            self.notes.append(NO_GRADIENT.format(name=names[places[place]]))
        self.subject = replace(self.subject, wanted=wanted)

    def _of_call(self, call: LayerCall, stand_ins: StandIns | None = None) -> FunctionCheck:
        """Check one layer along one direction of everything that it depends on."""
        alone = Alone(call, self.subject.arithmetic, self.counted, stand_ins)
        if not alone.tensors or not call.reached:
            reason = "nothing comes back to it" if alone.tensors else "has no inputs of floats"
            return single_row(bare_row(call.name, (), 0, "untested", reason))
        centre, gradients = evaluated(alone, call.name)
        if alone.changes:
            return single_row(bare_row(call.name, (), 0, "failed", CHANGED.format(alone.changes)))
        difference = DirectionalDifference(
            alone, alone.tensors, gradients, centre, self.options, without_gradients(call.layer)
        )
        check = judged(call.name, difference, self.options)
        if alone.hand_written and stand_ins is None and not failed(check):
            for finding in findings_where_some_are_fixed(
                list(alone.tensors), [gradients[name] for name in alone.tensors],
                alone.gradients_by, np.random.default_rng((self.options.seed, 8)),
            ):  # fmt: skip
                return single_row(bare_row(call.name, (), 0, "failed", finding))
        return check

    def _of_whole(self, wrong: list[str]) -> list[FunctionCheck]:
        """Check the whole: what is wrong between the layers shows only there.

        Where it shows, modules with children are looked at too.
        """
        name = "the whole module"
        if wrong:
            inside = single_row(bare_row(name, (), 0, "untested", INSIDE))
            return [*self._of_parents(wrong), inside]
        subject = self.subject
        restore_buffers(self.buffers)
        whole = Whole(
            subject.module, subject.given, subject.wanted, subject.loss, subject.arithmetic,
            self.counted, self.stand_ins,
        )  # fmt: skip
        if not whole.tensors:
            return [single_row(bare_row(name, (), 0, "untested", "has no inputs or parameters"))]
        centre, gradients = evaluated(whole, name)
        difference = DirectionalDifference(
            whole, whole.tensors, gradients, centre, self.options,
            without_gradients(subject.module),
        )  # fmt: skip
        looked_at: list[FunctionCheck] = []

        def explained() -> bool:
            looked_at.extend(self._of_parents(wrong))
            restore_buffers(self.buffers)
            return any(map(failed, looked_at))

        whole_check = judged(name, difference, self.options, explained)
        return [*looked_at, whole_check]

    def _of_parents(self, wrong: list[str]) -> list[FunctionCheck]:
        """Check modules with children, inner ones first, but those that hold what is wrong."""
        found, checks = list(wrong), []
        calls = [
            call
            for call in self._recorded(keeps_parents=True)
            if call.holds_calls
            and call.path not in self.subject.excluded
            and has_own_forward(call.layer)
        ]
        for call in reversed(calls):
            if not any(path.startswith(f"{call.path}.") for path in found):
                checks.append(self._of_call(call, self.stand_ins))
                if failed(checks[-1]):
                    found.append(call.path)
        return checks


def has_own_forward(layer: torch.nn.Module) -> bool:
    """Tell whether a module with children may compute something itself."""
    chained = type(layer).forward is torch.nn.Sequential.forward
    return not has_no_children(layer) and not chained


def failed(check: FunctionCheck) -> bool:
    """Tell whether one of the rows is wrong."""
    return any(row.verdict == "failed" for row in check.rows)


def _what_raised(error: Exception, recorder: Recorder) -> str:
    what = f"raised {type(error).__name__}: {error}"
    if not recorder.in_backward:
        where = recorder.where()
        return f"module {what}" + (f" (in {where})" if where else "")
    if recorder.latest:
        return f"the backward pass of module {what} (after it came to {recorder.latest})"
    return f"the backward pass of module {what}"


def _without_gradient(layer: torch.nn.Module) -> dict[str, int]:
    """Return rows of parameters that have no gradient by definition: padding of embeddings."""
    padding = getattr(layer, "padding_idx", None)
    known = isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag)
    return {"weight": padding} if known and padding is not None else {}


def without_gradients(module: torch.nn.Module) -> dict[str, int]:
    """Return the same for all parts of a module."""
    return {
        shown_path(f"{name}.{parameter}" if name else parameter): row
        for name, part in module.named_modules()
        for parameter, row in _without_gradient(part).items()
    }


def judged(
    name: str,
    difference: DirectionalDifference,
    options: Options,
    explained: Callable[[], bool] = lambda: False,
) -> FunctionCheck:
    """Return a row for a layer, and rows for its tensors where it is wrong.

    Unless that is `explained`: then the row is not judged.
    """
    entries = sum(gradient.size for gradient in difference.gradients.values())
    verdict, reason, detectable = difference.verdict()
    if verdict != "failed" and difference.in_half:
        alone = _tensors_alone(name, difference, options)
        if any(row.verdict == "failed" for row in alone):
            if explained():
                return single_row(bare_row(name, (), 0, "untested", INSIDE))
            row = bare_row(name, (), 0, "failed", "along directions of single tensors")
            return FunctionCheck(rows=(row, *alone), method="layers")
        verdict, reason = _together(alone, verdict, reason)
    if verdict != "failed":
        if verdict == "passed" and not any(part.any() for part in difference.gradients.values()):
            verdict, reason = "untested", "zero on both sides"
        row = bare_row(name, (), entries, verdict, reason)
        return single_row(replace(row, detectable=detectable))
    if explained():
        return single_row(bare_row(name, (), 0, "untested", INSIDE))
    row = bare_row(name, (), 0, "failed", reason)
    if not difference.function.arithmetic.is_double:
        return FunctionCheck(rows=(row, *_each_tensor(name, difference, options)), method="layers")
    closer = _closer_look(name, difference, options)
    verdict = check_verdict([row.verdict for row in closer.rows])
    if verdict != "failed":  # its inputs are on kinks, where a direction alone does not decide
        found = "untested" if verdict == "vacuous" else verdict
        row = bare_row(name, (), entries, found, "on kinks: each tensor was looked at")
        return single_row(replace(row, detectable=detectable))
    renamed = [replace(part, name=f"{name}, {part.name}") for part in closer.rows]
    failures = [
        tuple(replace(wrong, array=f"{name}, {wrong.array}") for wrong in some)
        for some in closer.failures
    ]
    return replace(closer, rows=(row, *renamed), failures=tuple(failures), notes=())


def _tensors_alone(
    name: str, difference: DirectionalDifference, options: Options
) -> list[ArrayReport]:
    """Judge the tensors alone where they are few: one of them hardly shows in a sum of many."""
    few = 1 < len(difference.tensors) <= MOST_ALONE
    return _each_tensor(name, difference, options) if few else []


def _together(alone: list[ArrayReport], verdict: str, reason: str) -> tuple[str, str]:
    """Return the verdict on a layer none of whose tensors is wrong."""
    unclear = [row for row in alone if row.verdict == "inconclusive"]
    if unclear:
        return "inconclusive", f"{unclear[0].name}: {unclear[0].reason}"
    return ("passed", "") if alone else (verdict, reason)


def _each_tensor(
    name: str, difference: DirectionalDifference, options: Options
) -> list[ArrayReport]:
    """Judge every tensor of a layer by a direction of its own; in few digits, entries are lost."""
    rows = []
    for key, tensor in difference.tensors.items():
        alone = DirectionalDifference(
            difference.function, {key: tensor}, {key: difference.gradients[key]},
            difference.centre, options, difference.without,
        )  # fmt: skip
        verdict, reason, detectable = alone.verdict()
        row = bare_row(f"{name}, {key}", tuple(tensor.shape), tensor.numel(), verdict, reason)
        rows.append(replace(row, detectable=detectable))
    return rows


def _closer_look(name: str, difference: DirectionalDifference, options: Options) -> FunctionCheck:
    """Find the wrong tensors and entries of one layer, by directions of each and bisection."""
    names = sorted(difference.tensors)  # as optree goes through a dict

    def value(at: dict[str, Any]) -> float:
        with torch.no_grad():
            for key, tensor in difference.tensors.items():
                tensor.copy_(tensor_of(at[key], tensor))
                if key in difference.without:  # what has no gradient is not moved either
                    row = difference.without[key]
                    tensor[row] = difference.base[key][row]
        return difference.value()

    at = {key: numbers_of(difference.base[key]) for key in names}
    function = Function(value, Point(at, ""), name)
    keys = dict(zip(function.point.container.names, names, strict=True))
    given = GivenLeaves([difference.gradients[key] for key in names])
    check = check_scalar(function, given, options)
    difference.put_back()
    rows = [replace(row, name=key) for row, key in zip(check.rows, names, strict=True)]
    failures = [
        tuple(replace(wrong, array=keys[wrong.array]) for wrong in some) for some in check.failures
    ]
    return replace(check, rows=tuple(rows), failures=tuple(failures))


def single_row(row: ArrayReport) -> FunctionCheck:
    """Return a check of one row."""
    return FunctionCheck(rows=(row,), method="layers")
