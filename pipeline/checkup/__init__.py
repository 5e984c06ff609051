"""What `pipeline.doctor` looks for and mends."""
