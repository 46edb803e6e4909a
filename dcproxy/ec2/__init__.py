"""Native EC2: sessions, calls, responses and errors. Does not import ``deltacloud``."""
