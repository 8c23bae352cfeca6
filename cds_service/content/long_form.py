"""A rule printed in long form, as YAML that the loader reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import yaml

_WIDTH = 108


class _Dumper(yaml.SafeDumper):
    """Writes as the rules are written: long texts folded, short lists and mappings on one line."""

    def ignore_aliases(self, _: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.Node:
        long = len(value) > _WIDTH - 8 or "\n" in value
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=">" if long else None)

    def number(self, value: Decimal) -> yaml.Node:
        kind = "float" if "." in str(value) else "int"
        return self.represent_scalar(f"tag:yaml.org,2002:{kind}", str(value))

    def short_list(self, value: list[Any]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=_short(value))

    def short_mapping(self, value: dict[Any, Any]) -> yaml.Node:
        return self.represent_mapping("tag:yaml.org,2002:map", value, flow_style=_short(value.values()))


def _short(items: Collection[Any]) -> bool:
    plain = not any(isinstance(item, list | dict) for item in items)
    return plain and len(items) < 6 and sum(len(str(item)) + 2 for item in items) < _WIDTH - 24


_Dumper.add_representer(str, _Dumper.text)
_Dumper.add_representer(Decimal, _Dumper.number)
_Dumper.add_representer(list, _Dumper.short_list)
_Dumper.add_representer(dict, _Dumper.short_mapping)


def long_form(data: Mapping[str, Any]) -> str:
    """A rule's data as the YAML text that the loader reads."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
