"""The emitter of vector code: what every intrinsic of this folder writes its instructions with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .vectors import VECTOR_BYTES

INTEGER = ir.IntType(64)


def number(value: int) -> Any:
    """Return an integer constant: a count or an offset."""
    return ir.Constant(INTEGER, value)


ZERO = number(0)


class Emitter:
    """Instructions on vectors of one type of number, in the code of one intrinsic.

    Arrays are named by the position of their argument; an address is that of a single number.
    """

    def __init__(
        self,
        context: Any,
        builder: Any,
        signature: Any,
        arguments: Any,
        element: Any = types.float64,
    ) -> None:
        self.builder = builder
        self.lanes = VECTOR_BYTES * 8 // element.bitwidth
        self.bits = element.bitwidth
        self.scalar = ir.DoubleType() if element == types.float64 else ir.FloatType()
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self._starts = {
            k: context.make_array(kind)(context, builder, value).data
            for k, (kind, value) in enumerate(zip(signature.args, arguments, strict=True))
            if isinstance(kind, types.Array)
        }

    # ---- memory ----

    def address(self, position: int, offset: Any) -> Any:
        """Address of an entry of an array."""
        return self.builder.gep(self._starts[position], [offset])

    def row(self, position: int, at: Any, pitch: Any, index: Any) -> Any:
        """Address of a row: ``at`` and ``index`` times ``pitch`` from an array's start."""
        return self.address(position, self.builder.add(at, self.builder.mul(pitch, index)))

    def beyond(self, address: Any, offset: Any) -> Any:
        """Address so many numbers after another."""
        return self.builder.gep(address, [offset])

    def vector_at(self, address: Any, vector: int = 0) -> Any:
        """Address as that of a vector, so many vectors further on."""
        if vector:
            address = self.beyond(address, number(vector * self.lanes))
        return self.builder.bitcast(address, self.vector.as_pointer())

    def load(self, address: Any, vector: int = 0) -> Any:
        """Load a vector, from any address of a number."""
        return self.builder.load(self.vector_at(address, vector), align=self.bits // 8)

    def store(self, value: Any, address: Any, vector: int = 0) -> None:
        """Store a vector, to any address of a number."""
        self.builder.store(value, self.vector_at(address, vector), align=self.bits // 8)

    def store_lanes(self, count: int, value: Any, address: Any) -> None:
        """Store the first lanes of a vector."""
        if count < self.lanes:
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count)))
            value = self.builder.shuffle_vector(value, value, lanes)
        place = self.builder.bitcast(address, value.type.as_pointer())
        self.builder.store(value, place, align=self.bits // 8)

    def load_to_all(self, address: Any) -> Any:
        """Load a number into all lanes of a vector."""
        return self.broadcast(self.builder.load(address))

    def prefetch(self, address: Any, level: int = 1) -> None:
        """Ask for the line at an address, into the cache of a level; not ours, it does no harm."""
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        self.call(
            "llvm.prefetch.p0i8",
            ir.VoidType(),
            [self.builder.bitcast(address, byte), flag(0), flag(4 - level), flag(1)],
        )

    # ---- arithmetic ----

    def call(
        self, name: str, result: Any, arguments: list[Any], fastmath: tuple[str, ...] = ()
    ) -> Any:
        """Call a function of LLVM."""
        kinds = [argument.type for argument in arguments]
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, kinds), name
        )
        return self.builder.call(function, arguments, fastmath=fastmath)

    def broadcast(self, value: Any) -> Any:
        """Put one number in all lanes of a vector."""
        vector = ir.VectorType(value.type, self.lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(single, undefined, zeros)

    def fma(self, one: Any, other: Any, addend: Any) -> Any:
        """Return one * other + addend, rounded once."""
        return self.call(f"llvm.fma.v{self.lanes}f{self.bits}", self.vector, [one, other, addend])

    def absolute(self, value: Any) -> Any:
        """Return |value|."""
        return self.call(f"llvm.fabs.v{self.lanes}f{self.bits}", self.vector, [value])

    def larger(self, one: Any, other: Any) -> Any:
        """Return the larger in each lane; the other one where either is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def sum_of_lanes(self, value: Any) -> Any:
        """Sum of a vector's lanes, in an order of the compiler's choice."""
        start = ir.Constant(self.scalar, 0.0)
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{self.bits}"
        return self.call(name, self.scalar, [start, value], fastmath=("reassoc",))

    def bits_of(self, flags: Any) -> Any:
        """Flags of the lanes as the bits of one integer."""
        return self.builder.bitcast(flags, ir.IntType(self.lanes))

    # ---- loops ----

    def loop(
        self,
        count: Any,
        starts: list[Any],
        body: Callable[[Any, list[Any]], list[Any]],
        step: int = 1,
        at_least_once: bool = False,
        begin: Any = ZERO,
    ) -> list[Any]:
        """Carry values through a loop in registers, and return the last ones.

        ``body`` takes the index, ``begin``, ``begin + step``, ... below ``count``, and the values
        as they are, ``starts`` at first, and returns the new ones.
        """
        builder = self.builder
        entry = builder.block
        inside, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        if at_least_once:
            builder.branch(inside)
        else:
            builder.cbranch(builder.icmp_signed(">", count, begin), inside, done)
        builder.position_at_end(inside)
        index = builder.phi(INTEGER)
        values = [builder.phi(start.type) for start in starts]
        new = body(index, values)
        following = builder.add(index, number(step))
        for phi, first, later in zip(
            [index, *values], [begin, *starts], [following, *new], strict=True
        ):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, builder.block)
        last = builder.block
        builder.cbranch(builder.icmp_signed("<", following, count), inside, done)
        builder.position_at_end(done)
        if at_least_once:
            return new
        results = [builder.phi(start.type) for start in starts]
        for phi, first, later in zip(results, starts, new, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, last)
        return results
