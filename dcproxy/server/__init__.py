"""How dcproxy is run: the command, gunicorn, logs, metrics and the mock EC2."""
