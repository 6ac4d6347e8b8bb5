"""Scores of localisation maps: named protocols, floors, ceilings and intervals.

Start with :func:`metrics.scoring.score_maps`. The formulas are in :mod:`metrics.functional`, the
rules that turn a map into a prediction in :mod:`metrics.protocols`.
"""
