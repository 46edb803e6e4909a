"""Native EC2: sessions, calls, responses and errors. Knows nothing of Deltacloud."""
