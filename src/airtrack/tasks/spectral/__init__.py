"""Tasks about eigenvectors and singular vectors."""
