"""What must not be reckoned in half precision, where ``trainer.precision`` is bf16-mixed."""

import torch
from torch import Tensor


def exact(values: Tensor) -> Tensor:
    """In single precision where they are in half of it; else as they are.

    Inside ``torch.autocast`` a product of them still is of half precision.

    >>> exact(torch.ones(1, dtype=torch.bfloat16)).dtype, exact(torch.ones(1).double()).dtype
    (torch.float32, torch.float64)
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
