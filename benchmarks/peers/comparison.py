"""The whole comparison, page by page."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterable, Iterator, Sequence

from . import (
    apart,
    backprop,
    check,
    functions,
    growth,
    machine,
    operators,
    problem,
    product_orders,
    products,
    replay,
    second_order,
)
from .available import Peers, find_peers
from .problem import Problem
from .report import Section


def pages(chosen: argparse.Namespace) -> Iterator[str]:
    """Yield Markdown: who takes part and on what machine, the sections, the machine again."""
    peers = find_peers(chosen.threads)
    sizes = machine.QUICK if chosen.quick else machine.FULL
    before = machine.measure(chosen.threads, sizes)
    yield _head(peers, before, chosen.quick)
    for name in chosen.only:
        for section in _sections(name, chosen, peers, before):
            yield section.to_markdown()
    after = machine.measure(chosen.threads, sizes)
    yield _bullets("The machine, measured again at the end:", after.describe())


def _head(peers: Peers, measured: machine.Machine, quick: bool) -> str:
    lines = [f"{', '.join(peers.versions)}, Python {platform.python_version()}"]
    lines += [f"not installed, so not measured: {name}" for name in peers.missing]
    if hasattr(os, "getloadavg"):
        lines.append(f"load of the last minute before the start: {os.getloadavg()[0]:.2f}")
    if quick:
        lines.append("quick: too short a run for any figure to hold")
    return _bullets("# fastbp beside its peers", lines + measured.describe())


def _bullets(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, "", *(f"- {line}" for line in lines)]) + "\n"


def _sections(
    name: str, chosen: argparse.Namespace, peers: Peers, measured: machine.Machine
) -> Iterable[Section]:
    if name == "functions":
        return functions.compare_functions(chosen.rounds, quick=chosen.quick)
    if name == "second-order":
        return second_order.compare_second_order(chosen.rounds, quick=chosen.quick)
    if name == "operators":
        return operators.compare_operators(chosen.rounds, quick=chosen.quick)
    if name == "growth":
        return growth.compare_growth(
            chosen.threads, chosen.rounds, names=chosen.axis, quick=chosen.quick
        )
    if name == "products":
        dtypes = chosen.dtype or problem.DTYPES
        return [
            products.compare_products(products.SIZES, dtypes, measured, chosen.rounds),
            product_orders.compare_orders(product_orders.SIZES, dtypes, chosen.rounds),
        ]
    return [_section(name, chosen, peers, measured)]


def _section(
    name: str, chosen: argparse.Namespace, peers: Peers, measured: machine.Machine
) -> Section:
    dtypes = chosen.dtype or problem.DTYPES
    if name == "check":
        chosen_problems = _problems(check.NETWORKS, ["float64"], chosen.network)
        return check.compare_check(chosen_problems, peers.modules, chosen.rounds)
    if name == "replay":
        chosen_problems = _problems(replay.NETWORKS, ["float64"], chosen.network)
        return replay.compare_replay(chosen_problems, peers.modules, chosen.rounds)
    networks = [problem.BEYOND_CACHES] if name == "memory" else problem.NETWORKS
    chosen_problems = _problems(networks, dtypes, chosen.network)
    if name == "apart":
        return apart.compare_apart(chosen_problems, chosen.threads, chosen.rounds)
    return backprop.compare_backprop(chosen_problems, peers.modules, measured, chosen.rounds)


def _problems(
    networks: Sequence[tuple[str, int]], dtypes: Sequence[str], names: Sequence[str] | None
) -> list[Problem]:
    return [
        Problem(name, batch, dtype)
        for name, batch in networks
        if names is None or name in names
        for dtype in dtypes
    ]
