"""The settings of a plugin's sources, as its pydantic model has them: checked, described, read. No I/O."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from core.errors import InvalidInput
from marina.plugin import DeclarationError
from marina.schemawriter import SchemaWriter, faults_of

_NONE: Final[Mapping[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}


class PluginSettings:
    """Settings of one plugin. Raises ``DeclarationError`` when a secret would not be kept as one."""

    def __init__(self, model: type[BaseModel] | None) -> None:
        self._model = model
        fields = {} if model is None else model.model_fields
        if any(field.alias or field.validation_alias for field in fields.values()):
            raise DeclarationError("The settings of a plugin cannot have aliases.")
        self.secret: frozenset[str] = frozenset(
            name for name, field in fields.items() if _holds_secret(field.annotation)
        )
        self.schema: Mapping[str, Any] = _NONE if model is None else _schema_of(model)

    def clean(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings to be stored, their secrets in clear. Raises ``InvalidInput`` with a path a fault."""
        unknown = sorted(set(settings) - set(self.schema["properties"]))
        if unknown:
            message = f"There is no setting {unknown[0][:64]}."
            raise InvalidInput(
                message, errors=[{"path": name[:64], "message": message} for name in unknown[:10]]
            )
        if self._model is None:
            return {}
        try:
            read = self._model.model_validate(dict(settings))
        except ValidationError as faults:
            raise _invalid(faults) from None
        shown = read.model_dump(mode="json", exclude=set(self.secret))
        return {**shown, **{name: _clear(getattr(read, name)) for name in self.secret}}

    def read(self, settings: Mapping[str, Any]) -> Any:
        """What functions get: an object of the model, or nothing. Raises ``InvalidInput``."""
        if self._model is None:
            return None
        try:
            return self._model.model_validate(dict(settings))
        except ValidationError as faults:
            # The plugin is newer than the stored settings.
            raise _invalid(faults) from None


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=SchemaWriter)
    schema.pop("title", None)
    return {"properties": {}, **schema, "additionalProperties": False}


def _holds_secret(annotation: Any) -> bool:
    if annotation is SecretStr:
        return True
    inner = get_args(annotation)
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return any(_holds_secret(each) for each in inner)
    if any(_holds_secret(each) for each in inner):
        raise DeclarationError("A secret setting must be a field of its own: SecretStr, or SecretStr | None.")
    nested = annotation.model_fields.values() if _is_model(annotation) else ()
    if any(_holds_secret(field.annotation) for field in nested):
        raise DeclarationError("A secret setting must be a field of the settings themselves.")
    return False


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _clear(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _invalid(faults: ValidationError) -> InvalidInput:
    errors = [{"path": path, "message": message} for path, message in faults_of(faults)]
    listed = "; ".join(f"{error['path']}: {error['message']}" for error in errors)
    return InvalidInput(f"The settings do not fit: {listed}.", errors=errors)
