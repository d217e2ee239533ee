"""What every decoder of the format raises."""


class Corrupt(Exception):  # noqa: N818 - the reader words it with the file's path
    """What is wrong with the image, or which feature of it is not known."""
