"""What people outside Marina use: the API for plugins, and the stdio bridge. Imports nothing else of ours."""
