"""Messages as the JSON values that spec/vectors uses.

Numbers of up to 32 bits are JSON integers, 64-bit numbers decimal strings,
bytes lower-case hex.
"""

import belay_wire as wire

WIDE = {field for name, rows in wire.R.LAYOUTS.items() if name != "RANGE"
        for field, _, _, kind in rows if kind in ("u64", "i64")}


def value_json(field, value):
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if field in WIDE else value


def tlvs_json(tlvs):
    return [{"type": t, "value": v.hex()} for t, v in tlvs]


def fields_json(fields):
    out = {}
    for field, value in fields.items():
        if field == "ranges":
            value = [{"offset": str(o), "length": str(n)} for o, n in value]
        elif field in ("digests", "proof"):
            value = [digest.hex() for digest in value]
        elif field == "entries":
            value = [entry_json(entry) for entry in value]
        else:
            value = value_json(field, value)
        out[field] = value
    return out


def entry_json(entry):
    out = {field: value_json(field, entry[field])
           for field, _, _, kind in wire.R.LAYOUTS["ENTRY"]
           if kind != "reserved"}
    out["name"] = entry["name"].hex()
    out["tlvs"] = tlvs_json(entry["tlvs"])
    out["ignored"] = list(entry["ignored"])
    return out


def message_json(message):
    return {"type": message.name,
            "request_id": message.header.request_id,
            "end": message.end,
            "fields": fields_json(message.fields),
            "tlvs": tlvs_json(message.tlvs),
            "ignored": list(message.ignored)}
