"""What the machine asks for: devices, worker processes, files, arrays of keys."""
