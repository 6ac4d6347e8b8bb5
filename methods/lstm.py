"""An LSTM that stays in single precision where autocast asks for less."""

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """``nn.LSTM`` of one layer over ``(N, T, inputs)``, never in half precision.

    On a GPU autocast runs cuDNN's LSTMs in float16 even where bfloat16 is asked for
    (aten/src/ATen/cudnn/AutocastRNN.cpp of PyTorch at 0d0444e) and without the scale of gradients
    that float16 needs: sums over a hundred thousand cells may pass 65,504. On a CPU, oneDNN refuses
    bfloat16 where the processor does not multiply such numbers.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:  # type: ignore[override]
        """Hidden states ``(N, T, hidden)``, in the precision of the weights."""
        with torch.autocast(values.device.type, enabled=False):
            hidden: Tensor = super().forward(values.to(next(self.parameters()).dtype))[0]
        return hidden
