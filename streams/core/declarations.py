"""Reading declarations: YAML files checked against a model, with the file and the place of what is wrong."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from runtime.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def read_text(path: Path) -> str:
    """A file's text; raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error


def read_yaml(path: Path) -> Any:
    """A YAML file's content; raises ConfigError."""
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def validated(model: type[M], data: Any, path: Path) -> M:
    """`data` as the model; raises ConfigError naming the file and every wrong place in it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'top'}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigError(f"{path}: {places}") from error
