"""Rules of learning and examining that need no framework: try them in a bare `python`."""
