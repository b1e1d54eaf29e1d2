"""A noise predictor with a fixed formula that remembers every call: it shows what a sampler does inside."""

from typing import NamedTuple

import torch
from torch import nn

from tests.grading.checks import expect, expect_close


class Call(NamedTuple):
    """One call of the model: t int64 (B,); cond (B, D) or None; x_t and eps (B, C, H, W)."""

    x_t: torch.Tensor
    t: torch.Tensor
    cond: torch.Tensor | None
    eps: torch.Tensor


class RecordingModel(nn.Module):
    """eps = weight (0.8 x_t + 0.4 sin(3 x_t + t) + 0.5 cond_0): each x_t, t and cond has its own answer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, x_t, t, cond=None):
        expect(
            isinstance(t, torch.Tensor) and t.shape == (len(x_t),) and not t.is_floating_point(),
            "The model got a t that is not one integer for each row of x_t",
            f"{t.dtype} {tuple(t.shape)}" if isinstance(t, torch.Tensor) else repr(t),
            f"int64 ({len(x_t)},)",
            "eps_pred = model(x_t, t)",
        )
        expect(
            x_t.dtype == self.weight.dtype,
            "The model got an x_t of another type than its weights have",
            x_t.dtype,
            self.weight.dtype,
            "eps_pred = model(x_t, t)",
        )
        rows = (-1, *[1] * (x_t.dim() - 1))
        eps = 0.8 * x_t + 0.4 * torch.sin(3 * x_t + t.view(rows))
        if cond is not None:
            eps = eps + 0.5 * cond[:, 0].view(rows)
        eps = self.weight * eps
        self.calls.append(Call(x_t.detach().clone(), t.clone(), cond, eps.detach().clone()))
        return eps

    def expect_cond(self, cond):
        """Check that every call got the condition, row by row."""
        for call in self.calls:
            equation = "eps_pred = model(x_t, t, cond)" if cond is not None else "eps_pred = model(x_t, t)"
            if cond is None or call.cond is None:
                expect(call.cond is cond, "The model got another condition", call.cond, cond, equation)
            else:
                expect_close(call.cond, cond, "The condition that the model got", equation, tolerance=0)

    def transitions(self, samples):
        """Yield (call, x_prev) for each step of a sampler that returned `samples`."""
        following = [call.x_t for call in self.calls[1:]]
        return zip(self.calls, [*following, samples], strict=True)
