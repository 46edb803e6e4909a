"""Records to Deltacloud documents: a module a format, and the choice between them."""
