"""How large energies of Boltzmann machines may be."""

# The largest sum of |values|: energies are sums of terms of both signs, rounded about d times, and log p(x)
# is their difference from log Z. 2^-53 of it is 1e-8 nats; measured errors are 1e-8.
MAX_ENERGY = 1e8
MAX_ENERGY_TEXT = f"of at most {MAX_ENERGY:g}, up to which log Z and log p(x) are right to 1e-6 nats"
