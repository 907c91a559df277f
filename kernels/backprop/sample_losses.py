"""Losses of one sample and their derivatives by the outputs.

A sample's outputs stand ``stride`` apart at ``at`` (a lane of a panel).  Targets are addressed
by two strides, or are class indices (``labels``, used where ``targets`` is empty).
All losses are computed in float64, whatever the type of the network: numba's float() of a
float32 would stay one.
"""

from __future__ import annotations

import math

import numpy as np

from ..machine.compile import kernel

LEAST_SQUARES, SOFTMAX, SIGMOID, CUSTOM = 0, 1, 2, 3


@kernel
def _largest(count, outputs, at, stride):
    largest = np.float64(outputs[at])
    for k in range(1, count):
        largest = max(largest, np.float64(outputs[at + k * stride]))
    return largest


@kernel
def _softmax_loss_of_label(count, outputs, at, stride, label):
    """log sum_k exp(o_k - o_c): by log1p over k != c where c leads, so that nothing cancels."""
    shift = _largest(count, outputs, at, stride)
    others = 0.0
    for k in range(count):
        if k != label:
            others += math.exp(np.float64(outputs[at + k * stride]) - shift)
    own = np.float64(outputs[at + label * stride]) - shift
    if own == 0.0:
        return math.log1p(others)
    return math.log(others + math.exp(own)) - own


@kernel
def _softmax_loss(count, outputs, at, stride, targets, target_at, target_row):
    """Cross-entropy with probabilities y: sum_k y_k (log sum_j exp(o_j) - o_k)."""
    shift = _largest(count, outputs, at, stride)
    total = 0.0
    for k in range(count):
        total += math.exp(np.float64(outputs[at + k * stride]) - shift)
    logarithm = math.log(total)
    loss = 0.0
    for k in range(count):
        weight = np.float64(targets[target_at + k * target_row])
        if weight != 0.0:
            loss += weight * (logarithm - (np.float64(outputs[at + k * stride]) - shift))
    return loss


@kernel
def sample_loss(loss, count, outputs, at, stride, targets, target_at, target_row, labels, sample):
    """Loss of one sample before reduction and scale, in float64."""
    if loss == SOFTMAX:
        if labels.size > 0:
            return _softmax_loss_of_label(count, outputs, at, stride, labels[sample])
        return _softmax_loss(count, outputs, at, stride, targets, target_at, target_row)
    total = 0.0
    for k in range(count):
        output = np.float64(outputs[at + k * stride])
        target = np.float64(targets[target_at + k * target_row])
        if loss == SIGMOID:
            total += max(output, 0.0) - output * target + math.log1p(math.exp(-abs(output)))
        else:
            total += (output - target) * (output - target)
    return total


@kernel
def _softmax_sensitivity(
    count,
    outputs,
    at,
    stride,
    targets,
    target_at,
    target_row,
    labels,
    sample,
    factor,
    result,
):
    """factor (p_k sum(y) - y_k); for a label c, the entry of c is -sum of the others."""
    shift = _largest(count, outputs, at, stride)
    total = 0.0
    for k in range(count):
        total += math.exp(np.float64(outputs[at + k * stride]) - shift)
    if labels.size > 0:
        label = labels[sample]
        others = 0.0
        for k in range(count):
            share = math.exp(np.float64(outputs[at + k * stride]) - shift) / total
            if k != label:
                others += share
                result[at + k * stride] = factor * share
        result[at + label * stride] = -factor * others
    else:
        mass = 0.0
        for k in range(count):
            mass += np.float64(targets[target_at + k * target_row])
        for k in range(count):
            share = math.exp(np.float64(outputs[at + k * stride]) - shift) / total
            target = np.float64(targets[target_at + k * target_row])
            result[at + k * stride] = factor * (share * mass - target)


@kernel
def sample_sensitivity(
    loss,
    count,
    outputs,
    at,
    stride,
    targets,
    target_at,
    target_row,
    labels,
    sample,
    factor,
    result,
):
    """Write factor * d loss / d output of one sample to the same places of ``result``."""
    if loss == SOFTMAX:
        _softmax_sensitivity(
            count, outputs, at, stride, targets, target_at, target_row, labels, sample, factor,
            result,
        )  # fmt: skip
        return
    for k in range(count):
        output = np.float64(outputs[at + k * stride])
        target = np.float64(targets[target_at + k * target_row])
        if loss == SIGMOID:
            decay = math.exp(-abs(output))
            share = (1.0 if output >= 0.0 else decay) / (1.0 + decay)
            result[at + k * stride] = factor * (share - target)
        else:
            result[at + k * stride] = factor * (2.0 * (output - target))
