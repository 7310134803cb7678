"""A small llama: RMS norms, interleaved rotary positions, SwiGLU, tied embeddings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The dimensions of the model; every one that a weight row has is a multiple of 32."""

    vocabulary: int
    width: int = 160
    layers: int = 6
    heads: int = 5
    hidden: int = 384
    context: int = 1024
    epsilon: float = 1e-5
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        """Return the width of one attention head."""
        return self.width // self.heads


class Norm(nn.Module):
    """Root mean square normalisation."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn neighbouring pairs of the last dimension, as llama.cpp does."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


class Block(nn.Module):
    """One layer: attention, then the gated feed-forward net.

    Equal matrices are stacked in one parameter, so that the optimizer treats each apart.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.shape = shape
        self.attention_norm = Norm(shape)
        self.query_key_value = nn.Parameter(torch.randn(3, width, width) * width**-0.5)
        self.output = nn.Parameter(torch.zeros(1, width, width))
        self.feed_norm = Norm(shape)
        self.gate_up = nn.Parameter(torch.randn(2, hidden, width) * width**-0.5)
        self.down = nn.Parameter(torch.zeros(1, width, hidden))

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        """Add both sub-layers to the stream."""
        x = x + self._attend(self.attention_norm(x), turns)
        gate, up = functional.linear(self.feed_norm(x), self.gate_up.flatten(0, 1)).chunk(2, dim=-1)
        return x + functional.linear(functional.silu(gate) * up, self.down[0])

    def _attend(self, x: Tensor, turns: Tensor) -> Tensor:
        batch, length, width = x.shape
        joined = functional.linear(x, self.query_key_value.flatten(0, 1))
        split = joined.view(batch, length, 3, self.shape.heads, self.shape.head_width)
        query, key = rotate(split[:, :, :2], turns[:, None, None]).permute(2, 0, 3, 1, 4)
        value = split[:, :, 2].transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return functional.linear(mixed.transpose(1, 2).reshape(batch, length, width), self.output[0])


class Llama(nn.Module):
    """The whole model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.02)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)
        steps = torch.arange(0, shape.head_width, 2).float() / shape.head_width
        angles = torch.outer(torch.arange(shape.context).float(), shape.rope_base**-steps)
        self.turns = torch.polar(torch.ones_like(angles), angles)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the last hidden states of a batch of ids."""
        turns = self.turns[: ids.shape[1]]
        x = functional.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, turns)
        hidden: Tensor = self.norm(x)
        return hidden

    def loss(self, ids: Tensor, trained: Tensor) -> Tensor:
        """Return the mean loss on the tokens marked as trained."""
        hidden = self(ids[:, :-1])[trained[:, 1:]]
        return functional.cross_entropy(functional.linear(hidden, self.embedding), ids[:, 1:][trained[:, 1:]])
