"""What the kinds share that use folders of this machine: where a team's are, and how they are opened. Reads no file."""
