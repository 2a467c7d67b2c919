"""Markets: countries described by folders of data."""
