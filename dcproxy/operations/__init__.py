"""The Deltacloud operations: a module a collection, a function an operation."""
