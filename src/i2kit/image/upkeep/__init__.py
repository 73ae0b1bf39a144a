"""The store as a whole: who works in it, what it holds, what may go.

In: the settings, and who uses which machine image, which providers know. Out: the same store, held,
looked at or pruned. Whoever builds holds it with `using`; who deploys what was built has it `leased`
before letting go.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from i2kit.events import Watcher, ignore
from i2kit.image import base
from i2kit.image.base import lock
from i2kit.image.store import Store
from i2kit.image.upkeep import inventory, prune, roots
from i2kit.image.upkeep.inventory import Contents, Stored
from i2kit.image.upkeep.prune import Needed
from i2kit.image.upkeep.roots import LOCK_FILE, Root
from i2kit.model import Pruned, Stock, StoredForm, StoredImage, Use
from i2kit.settings import Settings


@contextmanager
def using(settings: Settings, *, watch: Watcher = ignore) -> Iterator[None]:
    """Build while the block runs: nothing that is in the store then is removed meanwhile. Not reentrant."""
    store = Store(settings.store_dir)
    with roots.shared(store, watch):
        roots.register(store, Root(LOCK_FILE, settings.lock_file))
        yield


def register(settings: Settings, provider: str, place: Path) -> None:
    """Have a provider's place asked, from now on, which machine images its deployments use."""
    roots.register(Store(settings.store_dir), Root(provider, place))


def leased(settings: Settings, uses: Sequence[Use]) -> AbstractContextManager[None]:
    """Keep these machine images while the block runs. Begins inside of `using` and may end after it."""
    return roots.leased(Store(settings.store_dir), uses)


def places(settings: Settings) -> tuple[tuple[str, Path], ...]:
    """Each provider that runs something of this store, and where it notes that; see `register`.

    Raises OperationError where that cannot be told.
    """
    found = roots.registered(Store(settings.store_dir)).values()
    existing = [root for root in found if root.kind != LOCK_FILE and roots.exists(root.path)]
    return tuple((root.kind, root.path) for root in existing)


def leases(settings: Settings) -> tuple[Use, ...]:
    """What deploys that run right now need."""
    return roots.leases(Store(settings.store_dir))


def look(settings: Settings, uses: Sequence[Use]) -> Stock:
    """What the store holds, and who uses it."""
    contents = inventory.look(Store(settings.store_dir))
    images = [_described(image, contents, uses) for image in contents.images]
    newest_first = sorted(images, key=lambda image: (image.created_at, image.id), reverse=True)
    return Stock(tuple(newest_first), inventory.shares(contents))


def clean(
    words: Sequence[str],
    *,
    settings: Settings,
    uses: Callable[[], Sequence[Use]],
    dry_run: bool = False,
    watch: Watcher = ignore,
) -> Pruned:
    """Remove what nothing needs, as prune.prune says."""
    store = Store(settings.store_dir)
    contents, going = prune.prune(
        store, words, uses=uses, needed=lambda: _needed(store, settings), dry_run=dry_run, watch=watch
    )
    return Pruned(
        images=tuple(_described(image, contents) for image, _ in going.images),
        room=tuple(size for _, size in going.images),
        others=going.others,
        unknown=going.unknown,
        kept=tuple(_described(image, contents, users) for image, users in going.kept),
    )


def _described(image: Stored, contents: Contents, uses: Sequence[Use] = ()) -> StoredImage:
    own, shared = inventory.room(image, contents.images)
    return StoredImage(
        id=image.id,
        names=image.names,
        containers=image.containers,
        images=image.images,
        created_at=image.created_at,
        size_bytes=sum(file.size_bytes for file in image.files),
        own_bytes=own,
        shared_bytes=shared,
        forms=tuple(
            StoredForm(
                form.format,
                sum(file.size_bytes for file in form.files),
                sum(file.disk_bytes for file in form.files),
            )
            for form in image.forms
        ),
        used_by=tuple(use for use in uses if use.image == image.id),
    )


def _needed(store: Store, settings: Settings) -> Needed:
    """What the lock files name that builds from this store have had, and the one of these settings."""
    files = {root.path for root in roots.registered(store).values() if root.kind == LOCK_FILE}
    # One that cannot be read raises: what it names would go, and mirrors drop old versions.
    existing = [path for path in {*files, settings.lock_file} if roots.exists(path)]
    found = [one for path in existing for one in lock.read_all(path).values()]
    references = {reference for one in found for reference in base.recorded_components(store, one)}
    references |= {one.kernel.image for one in found if one.kernel}
    return Needed(
        packages=frozenset(package.digest for one in found for package in one.packages),
        components=frozenset(reference.partition("@")[2] for reference in references),
    )
