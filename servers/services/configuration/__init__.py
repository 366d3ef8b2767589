"""A team's configuration as one file: written, planned and applied. Members, credentials and the log are not in it."""
