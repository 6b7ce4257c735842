"""One module a subcommand. They import nothing heavy before they run, so that help stays instant."""
