"""A loss over many independent rows, worked off a few rows at a time, backward pass included.

The activations of one slice stay in the processor's cache, where those of all rows at once travel to
memory and back for each operation; and they are all that there is of them at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Errors = Callable[[Tensor, slice], Tensor]


def sliced_errors(
    errors_of: Errors, inputs: Tensor, weights: Tensor, parameters: Sequence[Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """Σ weights · errors_of(inputs), with its gradient, computed `size` rows at a time.

    Args:
        errors_of: the errors (s, …) of a slice of the inputs (s, …), told which slice it is.
        inputs: (S, …), differentiable.
        weights: (S, …) of each error in the sum.
        parameters: what `errors_of` depends on beside its inputs.
        size: rows in a slice; with one slice for all, this is the plain computation.

    Returns:
        The weighted sum, differentiable in inputs and parameters, and all errors (S, …), which are so only
        where there is one slice for all.
    """
    if size >= len(inputs) or not torch.is_grad_enabled():
        errors = errors_of(inputs, slice(None))
        return (errors * weights).sum(), errors
    return _Sliced.apply(errors_of, weights, size, inputs, *parameters)


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, errors_of: Errors, weights: Tensor, size: int, inputs: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, errors = weights.new_zeros(()), torch.empty_like(weights)
        dinputs = torch.empty_like(inputs)
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for first in range(0, len(inputs), size):
            rows = slice(first, first + size)
            part = inputs[rows].detach().requires_grad_()
            with torch.enable_grad():
                found = errors_of(part, rows)
                loss = (found * weights[rows]).sum()
            dinputs[rows], *gradients = torch.autograd.grad(loss, [part, *parameters])
            torch._foreach_add_(sums, gradients)
            errors[rows] = found.detach()
            total += loss.detach()
        ctx.save_for_backward(dinputs, *sums)
        ctx.mark_non_differentiable(errors)
        return total, errors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dtotal: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *(dtotal * gradient for gradient in ctx.saved_tensors)
