"""What is wrong with a contract file, and where."""


class SchemaError(ValueError):
    """A dataset, envelope or panel file is wrong; the text names the file and the place in it."""
