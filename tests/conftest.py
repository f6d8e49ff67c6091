"""What every test begins with."""

import numpy as np
import pytest

BEGIN: dict[str, object] = {}  # module → the state of its generator after import


@pytest.fixture(autouse=True)
def _same_draws_in_any_order(request):
    """A module's generator begins anew for every test, so that data do not depend on which tests ran before."""
    for name in ("RNG", "rng"):
        generator = getattr(request.module, name, None)
        if isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            bits.state = BEGIN.setdefault(f"{request.module.__name__}.{name}", bits.state)
