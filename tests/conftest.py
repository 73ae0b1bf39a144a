"""For all tests: hypothesis takes the time that it needs, since times say more of the machine than of us."""

from hypothesis import settings

settings.register_profile("i2kit", deadline=None)
settings.load_profile("i2kit")
