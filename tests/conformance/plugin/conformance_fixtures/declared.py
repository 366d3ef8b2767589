"""The plugin that the fixtures are declared on, its settings, and the bytes that several of them give."""

from __future__ import annotations

import base64
from typing import Final

from pydantic import BaseModel, Field, SecretStr

from marina.plugin import Plugin


class Settings(BaseModel):
    """Needed by the tools that change what the server offers, and by no other: they use REST, as an admin would."""

    api_url: str = Field(default="", description="Where this Marina answers, like http://127.0.0.1:8000")
    admin_key: SecretStr = Field(default=SecretStr(""), description="A key with every scope")


plugin = Plugin("conformance", title="Conformance fixtures", settings=Settings)

PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
"""A PNG of one red pixel."""

SOUND: Final = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
"""The shortest WAV."""

STEP_SECONDS: Final = 0.05
"""Between notifications: the scenarios want to see several messages, not one burst."""
