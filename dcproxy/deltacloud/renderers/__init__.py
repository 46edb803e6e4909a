"""Models to documents: one module per format, and the choice between them."""
