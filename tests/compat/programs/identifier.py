"""1.x, no network: references to models and versions."""

from replicate.identifier import ModelVersionIdentifier
from replicate.schema import make_schema_backwards_compatible, version_has_no_array_type

owner, name, version = ModelVersionIdentifier.parse("owner/name:abc")
assert (owner, name, version) == ("owner", "name", "abc")
assert ModelVersionIdentifier.parse("owner/name").version is None
assert ModelVersionIdentifier("a", "b", "c").name == "b"
try:
    ModelVersionIdentifier.parse("nothing")
except ValueError:
    pass
else:
    raise AssertionError("it should not be a reference")
schema = {"components": {"schemas": {"Output": {"type": "array"}}}}
assert version_has_no_array_type("0.3.8") is True
assert version_has_no_array_type("0.9.4") is False
assert version_has_no_array_type("dev") is None
assert make_schema_backwards_compatible(schema, "0.3.8")["components"]["schemas"]["Output"]["x-cog-array-type"]
