"""The dashboard's icons: 16 by 16 line drawings, as SVG children. Data only."""

from __future__ import annotations

from typing import Final

ICONS: Final[dict[str, str]] = {
    "clock": '<circle cx="8" cy="8" r="5.6"/><path d="M8 4.8V8l2.3 1.6"/>',
    "home": '<path d="M2.5 7.5 8 2.8l5.5 4.7"/><path d="M4 6.6v6.6h8V6.6"/><path d="M6.7 13.2V9.6h2.6v3.6"/>',
    "database": (
        '<ellipse cx="8" cy="3.9" rx="5" ry="1.9"/><path d="M3 3.9v8.2c0 1 2.2 1.9 5 1.9s5-.9 5-1.9V3.9"/>'
        '<path d="M3 8c0 1 2.2 1.9 5 1.9S13 9 13 8"/>'
    ),
    "tool": (
        '<path d="M9.6 6.4a3.2 3.2 0 0 1 4-4L11.6 4.5l.5 1.4 1.4.5 2-2"/>'
        '<path d="M13.4 6.6a3.2 3.2 0 0 1-3.9.3l-5.3 5.6a1.3 1.3 0 0 1-1.9-1.9l5.6-5.3a3.2 3.2 0 0 1 3.3-3.2"/>'
    ),
    "file": '<path d="M3.8 2.3h5l3.4 3.4v8H3.8zM8.6 2.5v3.4H12M6 8.6h4M6 11h4"/>',
    "speech": '<path d="M2.5 3.2h11v7.4H8l-3.2 2.9v-2.9H2.5zM5.2 5.8h5.6M5.2 8.1h3.6"/>',
    "server": (
        '<rect x="2.5" y="2.8" width="11" height="4.4" rx="1.2"/>'
        '<rect x="2.5" y="8.8" width="11" height="4.4" rx="1.2"/>'
        '<path d="M5 5h.01M5 11h.01M7.5 5h3.5M7.5 11h3.5"/>'
    ),
    "plug": '<path d="M6 2v3.2M10 2v3.2M4 5.2h8v2.3a4 4 0 0 1-8 0zM8 11.5V14"/>',
    "key": '<circle cx="5.3" cy="10.7" r="2.8"/><path d="m7.3 8.7 6-6M11 5l1.8 1.8M9.2 6.8l1 1"/>',
    "people": (
        '<circle cx="6" cy="5.4" r="2.4"/><path d="M1.8 13.2c.2-2.6 1.9-4 4.2-4s4 1.4 4.2 4"/>'
        '<path d="M10.4 3.3a2.3 2.3 0 0 1 0 4.3M11.9 9.6c1.4.5 2.2 1.8 2.3 3.6"/>'
    ),
    "list": '<path d="M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.01M2.5 8h.01M2.5 12h.01"/>',
    "download": '<path d="M8 2.5v7.7M4.8 7.2 8 10.4l3.2-3.2M2.8 13.3h10.4"/>',
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "check": '<path d="m3.2 8.4 3.1 3.2 6.5-7"/>',
    "cross": '<path d="m4 4 8 8M12 4l-8 8"/>',
    "copy": (
        '<rect x="5.5" y="5.5" width="8" height="8" rx="1.4"/>'
        '<path d="M10.5 5.5V3.9A1.4 1.4 0 0 0 9.1 2.5H3.9a1.4 1.4 0 0 0-1.4 1.4v5.2a1.4 1.4 0 0 0 1.4 1.4h1.6"/>'
    ),
    "play": '<path d="M4.5 2.8v10.4L13 8z"/>',
    "search": '<circle cx="7" cy="7" r="4.2"/><path d="m10.2 10.2 3.3 3.3"/>',
    "chevron": '<path d="m5 6.5 3-3 3 3M5 9.5l3 3 3-3"/>',
    "menu": '<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>',
    "theme": '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5v11a5.5 5.5 0 0 0 0-11z" fill="currentColor"/>',
    "leave": '<path d="M9.5 2.5H4.2v11h5.3M7 8h6.5M11 5.4 13.6 8 11 10.6"/>',
    "info": '<circle cx="8" cy="8" r="5.8"/><path d="M8 7.4v3.4M8 5.2h.01"/>',
    "warn": '<path d="M8 2.6 1.9 13.2h12.2zM8 6.6v3M8 11.3h.01"/>',
    "lock": '<rect x="3.2" y="7" width="9.6" height="6.4" rx="1.3"/><path d="M5.4 7V5a2.6 2.6 0 0 1 5.2 0v2"/>',
    "globe": (
        '<circle cx="8" cy="8" r="5.6"/>'
        '<path d="M2.4 8h11.2M8 2.4c3.4 3.4 3.4 7.8 0 11.2M8 2.4c-3.4 3.4-3.4 7.8 0 11.2"/>'
    ),
    "up": '<path d="M8 13V3M4.2 6.8 8 3l3.8 3.8"/>',
    "down": '<path d="M8 3v10M4.2 9.2 8 13l3.8-3.8"/>',
    "value": '<path d="M10.8 4.6C10.2 3.6 9.2 3.2 8 3.2c-1.6 0-2.9.9-2.9 2.3 0 3.2 5.9 1.7 5.9 4.9 0 1.5-1.3 2.4-3 2.4'
    '-1.4 0-2.6-.5-3.1-1.6M8 1.6v12.8"/>',
    "arrow": '<path d="M3 8h10M9.2 4.2 13 8l-3.8 3.8"/>',
    "refresh": '<path d="M13.2 8a5.2 5.2 0 1 1-1.6-3.8M13.4 2.4v2.9h-2.9"/>',
    "marina": (
        '<path d="M8 2v11.5" stroke-width="1.7"/><path d="M8 3.2 12.6 9H8z" fill="currentColor"/>'
        '<path d="M8 5.2 4.4 9H8z"/><path d="M1.8 12.2c1.1 1.3 2.2 1.3 3.1.2.9 1.1 2.1 1.1 3.1 0 1 1.1 2.2 1.1 3.1 0 '
        '.9 1.1 2 1.1 3.1-.2" stroke-width="1.5"/>'
    ),
}
