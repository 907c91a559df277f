"""The perturbation loop over a function that the user compiled with numba."""

from __future__ import annotations

from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, report_done, stopped, wait_until_done

EVALUATIONS_PER_BLOCK = 16


@kernel(on_disk=False)
def evaluate_block(control, f, argument, numbers, indices, entries, values):
    """Fill the values of one block; f may raise, and leaves an entry changed then."""
    for k in range(indices.size):
        if not stopped(control):  # f may take a second, and Ctrl-C must not wait for 16
            index = indices[k]
            former = numbers[index]
            numbers[index] = entries[k]
            values[k] = f(argument)
            numbers[index] = former


@kernel(on_disk=False)
def raises_in_block(control, f, argument, numbers, indices, entries, values):
    """Fill the values of one block; tell whether f raised.

    A function of its own: from Python 3.12 on numba loses the ``try`` of a function into which it
    inlines others.
    """
    try:
        evaluate_block(control, f, argument, numbers, indices, entries, values)
    except Exception:
        return True
    return False


@kernel(entry=True, on_disk=False)
def evaluate_perturbed(control, f, argument, numbers, indices, entries, values, raised):
    """Fill ``values[k]`` with f where ``numbers[indices[k]]`` is ``entries[k]``.

    ``numbers`` is memory of the argument, of which every thread has a copy of its own.
    ``raised``, shape (1,), counts blocks in which f raised: their values are not valid.
    """
    blocks = (indices.size + EVALUATIONS_PER_BLOCK - 1) // EVALUATIONS_PER_BLOCK
    while True:
        block = draw_ticket(control)
        if stopped(control):
            return  # blocks that nobody has drawn will never be done
        if block >= blocks:
            break
        begin = block * EVALUATIONS_PER_BLOCK
        end = min(begin + EVALUATIONS_PER_BLOCK, indices.size)
        # A block that is never reported done would be waited for without end.
        if raises_in_block(
            control, f, argument, numbers, indices[begin:end], entries[begin:end],
            values[begin:end],
        ):  # fmt: skip
            raised[0] += 1
        report_done(control)
    wait_until_done(control, blocks)
