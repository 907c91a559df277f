"""Compiled loops over plain arrays: numbers in, numbers out, no validation, no classes.

Matrices live in flat, contiguous arrays and are addressed by an offset and two strides, so
that a transposed or a row-major operand runs through the same machine code.  What belongs to
a batch is kept in *panels*: ``NR`` neighbouring samples (two vectors of the host) for every
unit, one panel after the other, the last one padded.
"""
