"""What Astara's boundaries promise, as pytest classes: a new driver or provider inherits one and passes."""

import pytest

pytest.register_assert_rewrite("astara_suites.drivers", "astara_suites.providers")
