"""Audio-visual response maps and what the LVS family computes from them: pure functions.

First index sound, second image, as in Senocak et al. 2022.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.clip import Clip, Localization
from methods.chunks import in_chunks

EPSILON = 0.65  # Senocak et al. 2022, 3.2; LVS code model.py at 8fe8cbb
TAU = 0.03  # the same places
SMALLEST_AREA = 1e-8  # not given in the paper; all cosines far below EPSILON would give 0/0


def response_maps(sound: Tensor, visual: Tensor) -> Tensor:
    """Cosine map of every sound on every image (Senocak et al. 2022, Eq. 2).

    Not in half precision: a step of 2^-8 in a cosine is 0.06 over a temperature of 0.07.

    Args:
        sound: ``(M, D)``.
        visual: ``(N, D, h, w)``.

    Returns:
        ``(M, N, h, w)`` in [-1, 1].

    >>> response_maps(torch.tensor([[1.0, 0.0]]), torch.tensor([[[[3.0]], [[4.0]]]])).item()
    0.6000000238418579
    """
    return _einsum("md,ndhw->mnhw", sound, visual)


def paired_maps(sound: Tensor, visual: Tensor, maps: str = "auto") -> Tensor:
    """Cosine map of sound i on image i; not in half precision.

    Args:
        sound: ``(B, D)``.
        visual: ``(B, D, h, w)``.
        maps: whether the normalised images are kept, see :func:`methods.chunks.in_chunks`.

    Returns:
        ``(B, h, w)`` in [-1, 1].
    """

    def paired(sound: Tensor, visual: Tensor) -> Tensor:
        return _einsum("bd,bdhw->bhw", sound, visual)

    row_bytes = visual[:1].numel() * max(visual.element_size(), 4)
    return in_chunks(paired, [sound, visual], row_bytes, maps)


def _einsum(rule: str, sound: Tensor, visual: Tensor) -> Tensor:
    """Sum over the channels of both when normalised, whatever autocast asks for."""
    kind = torch.promote_types(torch.promote_types(sound.dtype, visual.dtype), torch.float32)
    with torch.autocast(sound.device.type, enabled=False):
        sound = F.normalize(sound.to(kind), dim=1)
        visual = F.normalize(visual.to(kind), dim=1)
        return torch.einsum(rule, sound, visual)


def cosine_localization(
    streams: Callable[[Clip], tuple[Tensor, Tensor]], clip: Clip
) -> Localization:
    """Answer of methods whose map is the plain cosine: the map of sound i on image i, its maximum.

    Args:
        streams: clips to ``V`` ``(B, D, h, w)`` and ``A`` ``(B, D)`` of their target segments.
        clip: B clips.
    """
    visual, sound = streams(clip)
    heatmap = paired_maps(sound, visual)
    return Localization(heatmap, heatmap.flatten(1).amax(1))


def soft_mask(alpha: Tensor, epsilon: float = EPSILON, tau: float = TAU) -> Tensor:
    """Pseudo ground truth m = sigmoid((alpha - epsilon) / tau) (Eq. 3); gradients flow through."""
    return torch.sigmoid((alpha - epsilon) / tau)


def masked_mean(alpha: Tensor, mask: Tensor) -> Tensor:
    """Mean of a map inside a soft mask, <m, alpha> / |m| (Eq. 5).

    Args:
        alpha: ``(..., h, w)``.
        mask: ``(..., h, w)`` in [0, 1].

    Returns:
        ``(...)``. An all-zero mask gives 0.
    """
    return (mask * alpha).sum((-2, -1)) / mask.sum((-2, -1)).clamp_min(SMALLEST_AREA)


def pooled_negatives(sound: Tensor, visual: Tensor, pool: str, maps: str = "auto") -> Tensor:
    """One value of the map of every sound on every image, for those that are negatives.

    The mean of a map is the cosine with the mean of the normalised image, so no map is made of it.

    Args:
        sound: ``(M, D)``.
        visual: ``(N, D, h, w)``.
        pool: ``mean`` (Eq. 5 as printed) or ``masked`` (LVS code).
        maps: ``auto``, ``whole`` or ``chunked``, see :func:`methods.chunks.in_chunks`.

    Returns:
        ``(M, N)``.
    """
    if pool == "mean":
        cells = visual.shape[2] * visual.shape[3]
        return _einsum("md,ndhw->mn", sound, visual) / cells

    def masked(images: Tensor) -> Tensor:
        alpha = response_maps(sound, images)  # (M, n, h, w)
        return masked_mean(alpha, soft_mask(alpha)).T

    return in_chunks(masked, [visual], bytes_of_maps(visual, len(sound)), maps).T


def bytes_of_maps(visual: Tensor, sounds: int) -> int:
    """Bytes of the maps of so many sounds on one image, which are never in half precision.

    Args:
        visual: ``(N, D, h, w)``.
        sounds: how many.

    >>> bytes_of_maps(torch.zeros(2, 8, 3, 5), 10)
    600
    """
    return sounds * visual.shape[2] * visual.shape[3] * max(visual.element_size(), 4)


def contrastive_rows(positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
    """-log(P / (P + N)) of every row, P and N sums of exponentials (Eq. 6).

    Args:
        positives: ``(B, P)`` exponents.
        negatives: ``(B, L)`` exponents.
        is_negative: ``(B, L)`` bool; the others do not count.

    Returns:
        ``(B,)``, at least 0. A row without negatives gives 0 and no gradient.

    >>> contrastive_rows(torch.zeros(1, 1), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool))
    tensor([1.3863])
    """
    positive = positives.logsumexp(1)
    negatives = negatives.masked_fill(~is_negative, -torch.inf)
    both = torch.cat([positives, negatives], 1).logsumexp(1)
    return both - positive
