"""What a model is before any engine touches it: header, vocabulary, chat template."""
