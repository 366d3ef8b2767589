"""The isolation check: what one team's credentials get of another's, asked of a running Marina."""
