"""The demo tenants' own SQL tools, as an admin would enter them."""

from __future__ import annotations

from typing import Any, Final

AIRPORT_TOOLS: Final[dict[str, dict[str, Any]]] = {
    "find_airport": {
        "title": "Find an airport",
        "description": "One airport by its IATA code (three letters, such as LHR) or ICAO code (such as EGLL).",
        "sql": (
            "SELECT icao, iata, name, city, subdivision, country, elevation_ft, latitude, longitude, timezone\n"
            "FROM aviation.airports\n"
            "WHERE iata = upper(:code) OR icao = upper(:code)"
        ),
        "parameters": {
            "code": {"type": "string", "description": "IATA or ICAO code, in any case", "required": True}
        },
    },
    "airports_near": {
        "title": "Airports near a place",
        "description": "Airports with an IATA code within a distance of a place, nearest first.",
        "sql": (
            "SELECT iata, name, city, country, round(distance_km::numeric, 1) AS distance_km\n"
            "FROM (\n"
            "  SELECT iata, name, city, country,\n"
            "    6371 * acos(least(1.0, sin(radians(latitude)) * sin(radians(:latitude))\n"
            "      + cos(radians(latitude)) * cos(radians(:latitude))\n"
            "      * cos(radians(longitude - :longitude)))) AS distance_km\n"
            "  FROM aviation.airports\n"
            "  WHERE iata IS NOT NULL\n"
            ") AS near\n"
            "WHERE distance_km <= :radius_km\n"
            "ORDER BY distance_km\n"
            "LIMIT 50"
        ),
        "parameters": {
            "latitude": {"type": "number", "description": "Degrees north, -90 to 90", "required": True},
            "longitude": {"type": "number", "description": "Degrees east, -180 to 180", "required": True},
            "radius_km": {"type": "number", "description": "Distance in kilometres", "default": 100},
        },
    },
    "airports_of_country": {
        "title": "Airports of a country",
        "description": "The highest airports of a country, highest first.",
        "sql": (
            "SELECT icao, iata, name, city, elevation_ft\n"
            "FROM aviation.airports\n"
            "WHERE country = upper(:country)\n"
            "ORDER BY elevation_ft DESC NULLS LAST\n"
            "LIMIT :count"
        ),
        "parameters": {
            "country": {"type": "string", "description": "ISO 3166-1 code of two letters", "required": True},
            "count": {"type": "integer", "description": "How many rows", "default": 20},
        },
    },
}
