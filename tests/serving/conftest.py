from tests.helpers.serving_fixtures import *  # noqa: F403
