"""What people outside Marina use: the plugin author's API and the stdio bridge. Imports nothing else of ours."""
