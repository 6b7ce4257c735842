"""One module a subcommand. None imports anything heavy before it runs: help stays instant."""
