# SPDX-License-Identifier: Apache-2.0
"""Writes an initramfs (cpio, "newc": Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
import os
import stat


class Archive:
    """Collects entries; directories above an entry are made by themselves."""

    def __init__(self):
        self._entries = []
        self._seen = set()

    def directory(self, name):
        if name and name not in self._seen:
            self.directory(os.path.dirname(name))
            self._add(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, content, mode=0o644):
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFREG | mode, content)

    def program(self, name, content):
        self.file(name, content, 0o755)

    def link(self, name, target):
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFCHR | 0o600, b"", major, minor)

    def tree(self, name, outside):
        """A file, link or folder with all that is in it."""
        outside = str(outside)
        if os.path.islink(outside):
            self.link(name, os.readlink(outside))
        elif os.path.isdir(outside):
            if name:
                self.directory(name)
            for entry in sorted(os.listdir(outside)):
                self.tree(f"{name}/{entry}".lstrip("/"), f"{outside}/{entry}")
        else:
            with open(outside, "rb") as file:
                self.file(name, file.read(), stat.S_IMODE(os.stat(outside).st_mode))

    def write(self, path):
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "wb") as out:
            for entry in self._entries:
                out.write(entry)
            out.write(_record("TRAILER!!!", 0, 0, b""))
        os.replace(temporary, path)

    def _add(self, name, mode, content, major=0, minor=0):
        self._seen.add(name)
        self._entries.append(_record(name, len(self._seen), mode, content, major, minor))


def _record(name, inode, mode, content, major=0, minor=0):
    fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(content):
    return content + b"\0" * (-len(content) % 4)
