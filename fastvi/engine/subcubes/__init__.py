"""Branch and bound over subcubes of states: certified intervals around log p(x)."""
