"""The API's resources, which are attributes of a client."""
