"""Constants read from registry.tsv until registry.py is generated."""

import os

_SUFFIX = {"timer": "_MS"}
_PREFIX = {"frame": "FRAME_", "frameflag": "FRAME_FLAG_", "tlv": "TLV_",
           "class": "WIRE_CLASS_", "code": "WIRE_", "codec": "CODEC_",
           "auth": "AUTH_", "flag": "", "filetype": "FILE_", "role": "ROLE_",
           "const": "", "limit": "LIMIT_", "timer": "TIMER_",
           "grease": "GREASE_", "private": "PRIVATE_"}


def _load():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "..", "registry.tsv"),
              encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            kind, name, value = line.rstrip("\n").split("\t")[:3]
            if value.startswith("hex:"):
                value = bytes.fromhex(value[4:])
            elif value.startswith('"'):
                value = value.strip('"')
            else:
                value = int(value, 0)
            globals()[_PREFIX[kind] + name + _SUFFIX.get(kind, "")] = value


_load()
