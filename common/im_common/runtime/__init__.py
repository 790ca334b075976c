"""What a process runs on: settings, its life, its logs and metrics, its Redis client."""
