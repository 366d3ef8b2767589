"""The dashboard's views: parse, call one service, render."""
