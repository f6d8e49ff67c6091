"""Language tasks: sequences of token ids with exact truth."""
