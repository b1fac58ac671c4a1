"""What each benchmark counts and how it averages."""
