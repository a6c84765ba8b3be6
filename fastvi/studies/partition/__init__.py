"""Study: log Z of restricted Boltzmann machines."""
