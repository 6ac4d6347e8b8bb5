"""`attention_relu`: `attention` with negative cosines cut off (Senocak et al. 2018, Eq. 3)."""

from dataclasses import replace

from methods.attention import Attention


class AttentionRelu(Attention):
    """Cosine attention with ReLU and softmax, mechanism 2."""

    rectified = True
    card = replace(Attention.card, map_range=(0.0, 1.0))
