"""The API's resources, as attributes of a client."""
