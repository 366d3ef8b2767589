"""What people outside Marina build with: the plugin author's API. Imports nothing else of Marina's, and no Django."""
