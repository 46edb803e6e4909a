"""The Deltacloud API: requests, documents and errors as clients see them. Knows nothing of EC2."""
