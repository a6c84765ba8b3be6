"""Study: the questions of variational inference, asked of a table."""
