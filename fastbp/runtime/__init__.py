"""What both wings run on: threads, progress, validation, user code, panels."""
