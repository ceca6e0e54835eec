"""Settings for every test."""

import os

from hypothesis import settings

# no deadline: on a busy machine the time of one example says nothing; in CI the same examples every time
settings.register_profile("dmh", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("dmh")
