"""The command line: one small file a command, each imports its workflow lazily."""
