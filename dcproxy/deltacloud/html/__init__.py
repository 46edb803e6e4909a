"""HTML pages: the writer of documents, and its templates."""
