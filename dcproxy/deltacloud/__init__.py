"""The Deltacloud API as clients see it: requests, documents, errors. Does not import ``ec2``."""
