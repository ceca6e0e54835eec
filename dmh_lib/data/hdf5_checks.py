"""What keeps a stranger's HDF5 file from leading to other files, or to more memory than it can fill."""

import math

import h5py

MOST_COMPRESSION = 1100  # deflate, the strongest of HDF5's own filters, never exceeds 1032 : 1
COPY = "copy the data into this file"


def is_link(group: h5py.Group, name: str) -> bool:
    """Whether a name leads elsewhere; looks at the link without following it, so no other file is opened."""
    return bool(group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD)


def problem_of(dataset: h5py.Dataset, file_bytes: int) -> tuple[str, str] | None:
    """What is wrong, and the remedy, where a dataset's data lie elsewhere or cannot be as many as it says.

    `file_bytes` is the size of its file.
    """
    if dataset.is_virtual or dataset.external:
        return "its data lie in another file", COPY
    if dataset.shape is None or 0 in dataset.shape:
        return None  # nothing is read
    stored = dataset.id.get_storage_size()  # bytes really in the file; a header can claim any shape
    items = max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))  # a chunk is read as a whole
    allowed = stored if dataset.chunks is None else stored * MOST_COMPRESSION
    if stored > file_bytes or items * dataset.dtype.itemsize > allowed:
        claims = f"claims shape {dataset.shape}, but the file holds {stored} bytes of it"
        return claims, "download or write it again"
    return None


def problem_in(file: h5py.File, file_bytes: int) -> tuple[str, str, str] | None:
    """The first name in a file with something wrong, what that is, and the remedy, for files others read.

    A thing with two names is wrong as well: a small file could be endless, or fill any memory.
    """
    todo, seen = [("", file["/"])], set[int]()
    while todo:
        above, group = todo.pop()
        for name in group:
            whole = f"{above}/{name}"
            if is_link(group, name):
                return whole, "is a link that may leave the file", COPY
            found = group[name]
            place = h5py.h5o.get_info(found.id).addr
            if place in seen:
                return whole, "has another name as well", "write it twice, or once"
            seen.add(place)
            if isinstance(found, h5py.Group):
                todo.append((whole, found))
            elif isinstance(found, h5py.Dataset) and (problem := problem_of(found, file_bytes)):
                return whole, *problem
    return None
