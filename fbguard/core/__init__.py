"""Values, rules and the look-up: no framework and no socket in here."""
