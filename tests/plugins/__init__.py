"""Plugins of pytest that the whole suite shares."""
