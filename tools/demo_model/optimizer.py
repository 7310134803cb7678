"""Muon for the matrices inside the layers, AdamW for everything else."""

import torch
from torch import Tensor

from tools.demo_model.model import Llama

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of a stack of matrices near one (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is orthogonalized."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # torch's own default
        """Update every parameter, each a stack of matrices."""
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state[param]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(param)
                moving = state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                direction = orthogonalize(param.grad.lerp(moving, group["momentum"]))
                scale = max(1.0, param.shape[-2] / param.shape[-1]) ** 0.5
                param.mul_(1 - 0.02 * group["lr"])
                param.add_(direction, alpha=-group["lr"] * scale)


def optimizers(model: Llama, matrix_rate: float, other_rate: float) -> list[torch.optim.Optimizer]:
    """Return both optimizers for a model."""
    matrices: list[Tensor] = [p for p in model.parameters() if p.ndim == 3]
    others: list[Tensor] = [p for p in model.parameters() if p.ndim < 3]
    adam = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.97), weight_decay=0.0)
    made: list[torch.optim.Optimizer] = [Muon(matrices, matrix_rate), adam]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made
