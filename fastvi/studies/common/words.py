"""Words for what a study looks at, in titles and findings."""

from __future__ import annotations

from dataclasses import replace

from fastvi.studies.common.subject import Subject


def first_of(subject: Subject, count: int) -> Subject:
    """The subject with the first ``count`` of its data."""
    labels = None if subject.labels is None else subject.labels[:count]
    return replace(subject, x=subject.x[:count], index=subject.index[:count], labels=labels)


def unit(subject: Subject) -> str:
    """One of the data: an image, or a datum."""
    return "datum" if subject.image_shape is None else "image"


def counted(subject: Subject) -> str:
    """As many data as there are, and whose: "50 held-out digits", "20 data of my.npy"."""
    count = f"{len(subject.x):,}"
    if not subject.own:
        return f"{count} held-out {subject.title}"
    return f"{count} {'images' if subject.image_shape else 'data'} of {subject.title}"


def rounded(value: float) -> str:
    """Two digits that count, without an exponent where a reader can count the zeros."""
    if value == 0 or not 1e-4 <= abs(value) < 1e7:
        return f"{value:.1g}"
    return f"{float(f'{value:.2g}'):,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """A share in per cent: whole ones, finer where it is near 0 % or 100 % without being there."""
    value = 100.0 * share
    if 0.0 < value < 1.0:
        return f"{value:.2g} %"
    if 99.0 < value < 100.0:
        return "above 99.9 %" if value > 99.9 else f"{value:.1f} %"
    return f"{value:.0f} %"
