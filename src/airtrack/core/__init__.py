"""The ground floor: protocol, named randomness, meter, parts. Numpy, the standard library, pydantic."""
