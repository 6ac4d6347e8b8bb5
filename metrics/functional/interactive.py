"""Interactive IoU: a frame is found only if each of its sounds is."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def interactive_hits(
    hit: NDArray[np.float64], frames: Sequence[str | None], members: Mapping[str, int]
) -> NDArray[np.float64]:
    """Whether all sounds of a frame are found, as a column whose mean is interactive IoU.

    A method that draws the same map whatever it hears can find one of two objects, but not both.
    Same score as ALIGN ``utils.py:124-138``, https://github.com/kaistmm/SSLalignment at e7ae3c5,
    except that a frame is left out unless all its sounds were scored.

    Args:
        hit: ``(n,)`` float64, 1.0 or 0.0 per sample, NaN where it is not scored.
        frames: ``(n,)`` name of the frame of each sample, None for one that takes no part.
        members: number of samples of each frame on the whole test list.

    Returns:
        ``(n,)`` float64: 1.0 or 0.0 at the first scored sample of a frame, NaN elsewhere.

    Raises:
        ValueError: lengths differ, or a frame is unknown to ``members`` or has more samples.

    Examples:
        >>> interactive_hits(np.array([1.0, 1.0, 1.0, 0.0]), list("aabb"), {"a": 2, "b": 2})
        array([ 1., nan,  0., nan])
    """
    scored: dict[str, list[int]] = {}
    for row, (frame, value) in enumerate(zip(frames, hit, strict=True)):
        if frame is not None and not np.isnan(value):
            scored.setdefault(frame, []).append(row)
    column = np.full(len(hit), np.nan)
    for frame, rows in scored.items():
        if len(rows) > members.get(frame, 0):
            raise ValueError(
                f"frame {frame!r} must have at most {members.get(frame, 0)} samples, "
                f"got {len(rows)}"
            )
        if len(rows) == members[frame]:
            column[rows[0]] = hit[rows].min()
    return column


def align_frame_of(sample_id: str) -> str:
    """Frame that ALIGN puts a sample into: its id without the last ``_`` part.

    ``short_name`` in ALIGN's ``test.py``; the id is a file name without folder and extension. It
    suits the ids of IS3, ``<frame>_<label>``. An id without ``_`` gives the empty name, so that all
    250 Flickr samples would be one frame. ``<video>_<seconds>`` of VGG-SS gives the video, and its
    5158 clips are of 5017 videos; ALIGN's own VGG-SS names end in two times, so that each clip is a
    frame of its own.

    Args:
        sample_id: id of a sample.

    Returns:
        Everything before the last ``_``, or an empty string.

    Examples:
        >>> align_frame_of("accordion_female_10438_accordion"), align_frame_of("3908875350")
        ('accordion_female_10438', '')
    """
    return sample_id.rpartition("_")[0]
