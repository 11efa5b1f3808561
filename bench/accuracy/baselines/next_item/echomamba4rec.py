"""EchoMamba4Rec as published (arXiv 2406.02638):
bidirectional Mamba between a circular filter and a gated unit.

    x = LN(Dropout(e))
    x <- LN(x + Dropout(irfft(W * rfft(x))))                                learnable complex
                                                                            response W, (N/2+1, D)
    x <- LN(x + Dropout(Mamba_f(x))) + LN(x + Dropout(flip Mamba_b(flip x)))  two blocks of weights
    x <- LN(Dropout(x + W2 (v * sigmoid(g)))),  (v, g) = split(W1 x)

The encoding at the last position predicts the next item. Nothing here is causal: the circular
filter and the reverse block show every position its future, so each prefix must be read on its own,
in training and at every click. This is what cannot stream, and why the product has a causal filter
and the echo instead.

The reverse scan begins at the last event, so at the last position of a single layer, the only one
that is read, it has seen that event alone: as published, the reverse direction adds no history, and
the circular filter alone looks ahead.

As published: one layer, 32 states a channel, convolution of width 4, expansion 2, window N = 200 or
50, cross-entropy over the full catalogue at the last position.

Left open, chosen here. Padding: the public code lets embeddings of padding run through filter and
blocks; here they are zero to the filter (which still wraps around a whole window of N) and each row
is flipped within its own length, so the rest of a batch makes no difference. Start values: the
public code resets all linear layers after building the blocks, which shortens their memory to a
step or two; `mamba` keeps Mamba's own, `published` does what the code does (its convolutions keep
PyTorch's start).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.next_item.mamba import Mamba, Start, restart


class EchoMamba4Rec(nn.Module):
    """Encoder of histories of up to `length` events, each read as a whole."""

    causal = False

    def __init__(
        self,
        width: int,
        length: int,
        dropout: float,
        *,
        layers: int = 1,
        states: int = 32,
        start: Start = "mamba",
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, length, dropout, states) for _ in range(layers))
        restart(self, start)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D): the encoding of each row's last event,
        repeated, since nothing else is read.
        """
        x = self.norm(self.dropout(vectors))
        for layer in self.layers[:-1]:
            x = layer(x, mask)
        last = self.layers[-1]
        assert isinstance(last, Layer)
        return last.at_last(x, mask)[:, None].expand_as(x)


class Layer(nn.Module):
    """Filter, both directions, gated unit."""

    def __init__(self, width: int, length: int, dropout: float, states: int) -> None:
        super().__init__()
        self.length = length
        self.response = nn.Parameter(torch.randn(length // 2 + 1, width, 2) * 0.02)
        self.forwards = Mamba(width, states=states)
        self.backwards = Mamba(width, states=states)
        self.filter_norm, self.forward_norm, self.backward_norm, self.glu_norm = (
            nn.LayerNorm(width) for _ in range(4)
        )
        self.enter = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D); what stands at padding means nothing."""
        x = self._smooth(x, mask)
        turned = _reversal(mask)[..., None].expand_as(x)
        behind = self.backwards(x.gather(1, turned)).gather(1, turned)
        return self._join(x, self.forwards(x), behind)

    def at_last(self, x: Tensor, mask: Tensor) -> Tensor:
        """`forward` at each row's last event alone, (B, L, D) to (B, D):
        there the reverse block has read one event.
        """
        x = self._smooth(x, mask)
        row = torch.arange(len(x), device=x.device)
        last = mask.sum(dim=1) - 1
        newest = x[row, last]  # (B, D)
        return self._join(
            newest, self.forwards(x)[row, last], self.backwards(newest[:, None])[:, 0]
        )

    def _smooth(self, x: Tensor, mask: Tensor) -> Tensor:
        smooth: Tensor = self.filter_norm(x + self.dropout(self._filtered(x * mask[..., None])))
        return smooth

    def _join(self, x: Tensor, ahead: Tensor, behind: Tensor) -> Tensor:
        """Both directions' residuals added, then the gated unit, for any leading dimensions."""
        x = self.forward_norm(x + self.dropout(ahead)) + self.backward_norm(
            x + self.dropout(behind)
        )
        value, gate = self.enter(x).chunk(2, dim=-1)
        shown: Tensor = self.glu_norm(self.dropout(x + self.leave(value * gate.sigmoid())))
        return shown

    def _filtered(self, x: Tensor) -> Tensor:
        """Circular convolution over a whole window, in the frequency domain."""
        spectrum = torch.fft.rfft(x, n=self.length, dim=1) * torch.view_as_complex(self.response)
        return torch.fft.irfft(spectrum, n=self.length, dim=1)[:, : x.shape[1]]


def _reversal(mask: Tensor) -> Tensor:
    """Positions (B, L) that turn each row around within its own
    length; padding stays where it is.
    """
    position = torch.arange(mask.shape[1], device=mask.device)
    length = mask.sum(dim=1, keepdim=True)  # (B, 1)
    return torch.where(position < length, length - 1 - position, position)
