"""Many tasks × many checkpoints: answered, kept on disk while they are answered, marked, and told in one table."""
