"""Reading YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dfp.core.errors import UserError

#: libyaml's where PyYAML was built with it: ten times faster, and every command reads whole configurations
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML mapping. Raises ``UserError`` when the file is missing, is no YAML or is no mapping."""
    path = Path(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: not to be read ({error.strerror}), expected a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML ({reason})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: found no mapping, expected keys and values")
    return raw
