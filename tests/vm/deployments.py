"""Releases for tests that deploy: built for real from an image of busybox."""

from i2kit import image
from i2kit.events import ignore
from i2kit.model import Release, Service, Workload
from i2kit.settings import Settings

SERVE_ITS_NAME = (
    'mkdir -p /tmp/www && echo "$(hostname) $VERSION" > /tmp/www/index.html && echo serving;'
    " trap 'exit 0' TERM; httpd -f -p 80 -h /tmp/www & wait"
)
"""A web server that answers with the name of its VM and the variable VERSION."""


def build_release(
    workload: Workload,
    services: tuple[Service, ...],
    settings: Settings,
    neighbours: tuple[Service, ...] = (),
) -> Release:
    """The workload with its machine image, from the store if it was built before."""
    machine = image.build(workload, settings=settings, watch=ignore)
    return Release(workload, machine, services, neighbours)
