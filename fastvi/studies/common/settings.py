"""Settings of all studies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Everything the numbers of the studies depend on.

    The largest d of each way of enumerating is a setting, not a time limit: which rows are measured must not
    depend on how busy the machine is.
    """

    seed: int = 0
    num_images: int = 50  # held-out images, or first data of one's own, in sampling and bounds
    num_latents: int = 12  # of the model that most of the studies look at
    # fit
    num_train: int = 1500
    num_epochs: int = 50
    fit_learning_rate: float = 0.2  # 0.1 ended 0.05 nats lower on held-out digits, 0.05 0.1, two seeds
    # enumeration
    enumeration_num_images: int = 100
    enumeration_latents: tuple[int, ...] = tuple(range(2, 25, 2))
    largest_python: int = 12
    largest_numpy: int = 18
    largest_loop: int = 18
    # sampling
    num_samples: tuple[int, ...] = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
    num_repeats: int = 6  # for each cell of the tables
    samples_in_sweep: int = 1_000  # K where d is swept
    ais_num_hidden: int = 10  # of the restricted Boltzmann machine whose log Z is estimated
    ais_num_epochs: int = 20
    ais_num_temperatures: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1_000)
    ais_num_chains: int = 100
    ais_num_repeats: int = 20
    # table
    table_num_samples: tuple[int, ...] = (10, 30, 100, 300, 1_000)
    table_num_repeats: int = 2_000
    # bounds
    bounds_num_samples: tuple[int, ...] = (1, 10, 100, 1_000)
    num_draws: int = 100_000  # draws an image, cut into blocks of bounds_num_samples
    # missing
    missing_num_images: int = 12
    missing_num_rows: int = 4  # of 8 pixels, from the top: 2^32 states an image
    missing_num_samples: int = 3  # draws an image that are kept and shown
    missing_num_completions: int = 1_000  # draws an image whose share in log p(lower part) is summed
    missing_penalty: float = 3e-3  # of 0.01, 0.003, 0.002, 0.001 best on 300 of the training images held back

    # learning
    learning_latents: tuple[int, ...] = (8, 12, 16)
    learning_own_latents: int = 12  # largest d with a q of each image's own: a step at 16 takes 0.3 s
    learning_num_epochs: int = 40
    learning_rate: float = 0.03
    learning_num_hidden: int = 50  # of the encoder
    # beyond
    beyond_images: str | None = None  # an IDX file of images, 0 to 255; None: the digits of the package
    beyond_num_images: int = 12
    beyond_num_train: int = 9_000  # at most
    beyond_latents: tuple[int, ...] = (24,)
    beyond_largest_exact: int = 24  # largest d at which log p(x) is enumerated, too
    beyond_max_bounds: tuple[int, ...] = (1, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
    beyond_num_samples: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    beyond_num_epochs: int = 15
    beyond_learning_rate: float = 0.01
    beyond_num_hidden: int = 100  # of the encoder

    @classmethod
    def quick(cls, seed: int = 0) -> Settings:
        """Sizes that finish in seconds: to see the files, not to learn from them."""
        return cls(
            seed=seed,
            num_images=6,
            num_latents=4,
            num_train=200,
            num_epochs=3,
            enumeration_num_images=5,
            enumeration_latents=(2, 3, 4, 5, 6),
            largest_python=4,
            largest_numpy=5,
            largest_loop=5,
            num_samples=(10, 100, 1_000),
            num_repeats=2,
            samples_in_sweep=100,
            ais_num_hidden=3,
            ais_num_epochs=2,
            ais_num_temperatures=(1, 10),
            ais_num_chains=20,
            ais_num_repeats=3,
            table_num_samples=(10, 100),
            table_num_repeats=200,
            bounds_num_samples=(1, 10, 100),
            num_draws=1_000,
            missing_num_images=2,
            missing_num_rows=2,
            missing_num_completions=50,
            learning_latents=(3, 4),
            learning_num_epochs=2,
            learning_num_hidden=8,
            beyond_num_images=3,
            beyond_num_train=200,
            beyond_latents=(14,),
            beyond_max_bounds=(1, 3, 10),
            beyond_num_samples=(1, 10, 100),
            beyond_num_epochs=2,
            beyond_num_hidden=8,
        )

    @property
    def fitted_latents(self) -> tuple[int, ...]:
        """D of the models that are fitted for the sweep over d: 2, 4, ... and ``num_latents``."""
        return tuple(sorted({*range(2, self.num_latents, 2), self.num_latents}))
