"""Settings of a report."""

from __future__ import annotations

from dataclasses import dataclass

from fastvi.core.options import Device, DType


@dataclass(frozen=True)
class ReportSettings:
    """Everything that the numbers of a report depend on, beside model, data and q."""

    seed: int = 0
    num_samples: int = 1_000  # K of the weights of each datum
    max_states: int = 1 << 24  # so many are summed for exact log p(x), and no more
    max_bounds: int = 10_000  # of a datum's certified interval, where states are more
    device: Device = "cpu"
    dtype: DType = "float64"  # of sampled weights
    fit_num_samples: int = 32  # draws a step of a q that has no exact fit
    truth_num_samples: int = 100_000  # of an estimate that stands in for the truth
    calibration_num_data: int = 20
    calibration_num_repeats: int = 100

    @property
    def sizes(self) -> tuple[int, ...]:
        """K of the importance-weighted bounds: powers of ten, of which blocks can be averaged, and all."""
        powers = [size for size in (10, 100, 1_000, 10_000) if 2 * size <= self.num_samples]
        return (*powers, self.num_samples)
