"""What people outside Marina use: the plugin author's API, and the stdio bridge. Imports no Django and nothing else of ours."""
