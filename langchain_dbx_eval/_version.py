"""The version of this package, kept where the build and the user agent both read it."""

__version__ = "0.1.0"
