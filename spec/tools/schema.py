"""The part of JSON Schema that spec/vectors/schema uses, and no more.

Keywords: type, const, enum, pattern, properties, required,
additionalProperties (false only), items, minItems, minimum, maximum, oneOf,
$ref (to "#/$defs/...").  Any other keyword is an error in the schema.
"""

import re

KNOWN = {"type", "const", "enum", "pattern", "properties", "required",
         "additionalProperties", "items", "minItems", "minimum", "maximum",
         "oneOf", "$ref", "$defs", "$schema", "title", "description"}
TYPES = {"object": dict, "array": list, "string": str, "integer": int,
         "boolean": bool, "null": type(None)}


def problems(value, schema, root=None, where="$"):
    """Yields one sentence for each place where value breaks the schema."""
    root = root or schema
    unknown = set(schema) - KNOWN
    if unknown:
        raise ValueError("schema keywords not understood: %s" % unknown)
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        yield from problems(value, target, root, where)
        return
    if "oneOf" in schema:
        yield from one_of(value, schema["oneOf"], root, where)
        return
    if "type" in schema and not has_type(value, schema["type"]):
        yield "%s is not of type %s" % (where, schema["type"])
        return
    yield from scalar(value, schema, where)
    if isinstance(value, dict):
        yield from members(value, schema, root, where)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield "%s has %d items" % (where, len(value))
        for i, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), root,
                                "%s[%d]" % (where, i))


def has_type(value, names):
    names = [names] if isinstance(names, str) else names
    return any(isinstance(value, TYPES[n]) and
               (n == "boolean" or not isinstance(value, bool))
               for n in names)


def one_of(value, choices, root, where):
    found = [list(problems(value, c, root, where)) for c in choices]
    if sum(not f for f in found) != 1:
        yield "%s fits %d of %d forms: %s" % (
            where, sum(not f for f in found), len(choices),
            min(found, key=len)[:2])


def scalar(value, schema, where):
    if "const" in schema and value != schema["const"]:
        yield "%s is not %r" % (where, schema["const"])
    if "enum" in schema and value not in schema["enum"]:
        yield "%s is %r, not in the list" % (where, value)
    if "pattern" in schema and isinstance(value, str) and \
            not re.search(schema["pattern"], value):
        yield "%s: %r does not match %s" % (where, value[:80],
                                            schema["pattern"])
    if isinstance(value, int):
        if value < schema.get("minimum", value):
            yield "%s is below %d" % (where, schema["minimum"])
        if value > schema.get("maximum", value):
            yield "%s is above %d" % (where, schema["maximum"])


def members(value, schema, root, where):
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield "%s lacks %s" % (where, name)
    for name, member in value.items():
        if name in properties:
            yield from problems(member, properties[name], root,
                                "%s.%s" % (where, name))
        elif schema.get("additionalProperties", True) is False:
            yield "%s has an unexpected %s" % (where, name)
