"""Helpers without knowledge of models or engines; this package imports only `edgedl.errors`."""
