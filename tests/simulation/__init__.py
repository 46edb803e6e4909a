"""Deterministic simulation: clients, replicas of dcproxy and EC2 on one virtual clock.

A world is a function of one integer seed. Each client and each request that a replica serves is a
greenlet; dcproxy's own code runs inside them, down to the request that botocore would send.
``python -m tests.simulation --help`` runs worlds and replays them.
"""
