"""How fast the SDK is, next to the official one and to what one would write by hand."""
