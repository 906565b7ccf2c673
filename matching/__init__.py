"""Which signals match: rules and their SQL, on tokens alone."""
