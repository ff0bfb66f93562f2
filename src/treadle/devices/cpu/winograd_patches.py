"""Cut images into overlapping patches and transform each: what Winograd's products read.

A unit is a run of tiles of one row of one image. Whatever lies outside the image is zero. Channels become
innermost, whatever the layout of the source. Knows images and planes, not what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from treadle.devices.cpu.convolution_strip import Strip, copy_strip
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut
from treadle.devices.cpu.winograd_transform import PATCH, PLACES, TILE, Matrix, transform

ITEMSIZE = 4
"""Of float32, which is all that is transformed."""
SEGMENT = 32
"""Most tiles of a unit: a copy of its channels stays in the second-level cache."""
LOOSE = 2
"""Pixels are read where they lie if they are no more than this many times their channels apart."""


@dataclass(frozen=True)
class Grid:
    """The tiles of a batch of images, `TILE` pixels apart."""

    batch: int
    rows: int
    """Of tiles, in an image."""
    columns: EvenCut
    """The tiles of a row in units."""

    @property
    def width(self) -> int:
        """Tiles of a unit."""
        return self.columns.large

    @property
    def units(self) -> int:
        return self.batch * self.rows * self.columns.parts

    @property
    def tiles(self) -> int:
        return self.units * self.width

    def locate(self, f: Function, unit: Index) -> tuple[Index, Index, Index]:
        """A unit's image, and the row and the column of its first tile."""
        rest, part = f.divmod(unit, self.columns.parts)
        image, row = f.divmod(rest, self.rows)
        return image, row, f.mul(part, self.width)


def grid_of(batch: int, height: int, width: int) -> Grid:
    """The tiles that cover images of this many pixels."""
    return Grid(batch, -(-height // TILE), EvenCut(-(-width // TILE), SEGMENT))


@dataclass(frozen=True)
class Image:
    """The images that patches are cut from, and the transform of a patch."""

    matrix: Matrix
    channels: int
    sizes: tuple[int, int]
    strides: tuple[int, int, int, int]
    """In elements: image, channel, row, column."""
    origin: tuple[int, int]
    """The pixel of the first tile's first; it may lie outside."""

    @property
    def extent(self) -> int:
        """Pixels of a patch along each axis."""
        return len(self.matrix[0])

    def in_place(self, lanes: int) -> bool:
        """Whether patches are read where they lie, if they leave the image nowhere."""
        _, channel, _, column = self.strides
        return channel == 1 and self.channels % lanes == 0 and column <= LOOSE * self.channels


@dataclass(frozen=True)
class Planes:
    """Transformed patches in memory: [place][panel of channels][tile][channel], zeros in unused channels."""

    tiles: int
    channels: int
    panel: int
    """Channels of a panel: whole vectors."""

    @property
    def panels(self) -> int:
        return -(-self.channels // self.panel)

    @property
    def panel_nbytes(self) -> int:
        return self.tiles * self.panel * ITEMSIZE

    @property
    def plane_nbytes(self) -> int:
        """From one place to the next; never a round number, or all places would fall into few sets of the
        caches.
        """
        return -(-self.panels * self.panel_nbytes // 64) * 64 + 64

    @property
    def nbytes(self) -> int:
        return PLACES * self.plane_nbytes


class PatchWriter:
    """Writes the transform of units of an image into planes."""

    def __init__(self, f: Function, isa: Isa, grid: Grid, image: Image, planes: Planes):
        self.f, self.isa, self.grid, self.image, self.planes = f, isa, grid, image, planes
        self.lanes = isa.lanes(ITEMSIZE)
        self.in_place = image.in_place(self.lanes)
        width = 1 if self.in_place else grid.width
        self.strip = Strip((image.extent, (width - 1) * TILE + image.extent), planes.panel)

    @property
    def scratch_nbytes(self) -> int:
        return -(-self.strip.size * ITEMSIZE // 64) * 64

    def unit(
        self,
        unit: Index,
        source: Value,
        target: Value,
        tile: Index,
        panels: tuple[Index, Index],
        scratch: Value,
    ) -> None:
        """Transform a range of panels of a unit of the images at `source` into the planes at `target`, which
        begin with the first of the range, from tile `tile` on.
        """
        f, image = self.f, self.image
        which, row, column = self.grid.locate(f, unit)
        source = f.at(source, f.mul(which, image.strides[0] * ITEMSIZE))
        y = f.add(f.mul(row, TILE), image.origin[0])
        x = f.add(f.mul(column, TILE), image.origin[1])

        def panel(index: Index, channels: int) -> None:
            first = f.mul(index, self.planes.panel * image.strides[1] * ITEMSIZE)
            to = f.mul(f.sub(index, panels[0]), self.planes.panel_nbytes)
            to = f.at(target, f.add(to, f.mul(tile, self.planes.panel * ITEMSIZE)))
            (self.read if self.in_place else self.copy)(f.at(source, first), y, x, to, scratch, channels)

        each_part(f, panels, image.channels, self.planes.panel, panel)

    def read(self, source: Value, y: Index, x: Index, target: Value, scratch: Value, channels: int) -> None:
        """Tile by tile from where the pixels lie; patches that leave the image are copied first."""
        f = self.f
        down, across = (stride * ITEMSIZE for stride in self.image.strides[2:])
        copied = [stride * ITEMSIZE for stride in self.strip.strides]

        def one(i: Index) -> None:
            at = y, f.add(x, f.mul(i, TILE))
            inside = self.inside(at)
            with f.when(f.op("xor", inside, Value("i1", "true"))):
                self.copy_window(source, at, scratch, channels)
            begin = f.at(source, f.add(f.mul(at[0], down), f.mul(at[1], across)))
            row_nbytes = f.select(inside, f.i64(down), f.i64(copied[0]))
            column_nbytes = f.select(inside, f.i64(across), f.i64(copied[1]))
            self.patch(f.select(inside, begin, scratch), row_nbytes, column_nbytes, target, i, channels)

        f.loop(0, self.grid.width, one)

    def inside(self, at: tuple[Index, Index]) -> Value:
        """Whether a patch leaves the image nowhere."""
        f, found = self.f, Value("i1", "true")
        for place, size in zip(at, self.image.sizes, strict=True):
            room = max(0, size - self.image.extent + 1)
            found = f.op("and", found, f.compare("icmp ult", f.i64(place), f.i64(room)))
        return found

    def copy(self, source: Value, y: Index, x: Index, target: Value, scratch: Value, channels: int) -> None:
        """All pixels of a unit are copied."""
        f = self.f
        row_nbytes, column_nbytes = (f.i64(stride * ITEMSIZE) for stride in self.strip.strides)
        self.copy_window(source, (y, x), scratch, channels)

        def one(i: Index) -> None:
            place = f.at(scratch, f.mul(i, TILE * self.strip.pitch * ITEMSIZE))
            self.patch(place, row_nbytes, column_nbytes, target, i, channels)

        f.loop(0, self.grid.width, one)

    def copy_window(self, source: Value, at: tuple[Index, Index], scratch: Value, channels: int) -> None:
        image = self.image
        copy_strip(
            self.f, self.isa, "float32", self.strip, scratch, source, at, image.sizes, image.strides[2:],
            channels, image.strides[1],
        )  # fmt: skip

    def patch(
        self,
        source: Value,
        row_nbytes: Value,
        column_nbytes: Value,
        target: Value,
        tile: Index,
        channels: int,
    ) -> None:
        """One patch of the channels of a panel."""
        f = self.f
        to = f.at(target, f.mul(tile, self.planes.panel * ITEMSIZE))
        count = f.i64(-(-channels // self.lanes))
        f.call("void", self.patch_function(), source, row_nbytes, column_nbytes, to, count)

    def patch_function(self) -> str:
        """``patch(source, row_nbytes, column_nbytes, target, vectors)``: written once, whatever number of
        places call it.
        """
        plane = self.planes.plane_nbytes
        name = f"patch_{self.image.extent}_{plane}"
        if any(written.name == name for written in self.f.module.functions):
            return name
        f = self.f.module.function(name, ["ptr", "i64", "i64", "ptr", "i64"], internal=True)
        source, row_nbytes, column_nbytes, target, count = f.arguments
        type, extent, matrix = vector("float", self.lanes), self.image.extent, self.image.matrix
        across: list[Index] = [f.mul(column_nbytes, x) for x in range(extent)]

        def one(v: Index) -> None:
            starts = [f.at(source, f.mul(v, self.lanes * ITEMSIZE))]
            for _ in range(extent - 1):
                starts.append(f.at(starts[-1], row_nbytes))
            columns = []
            for place in across:
                pixels = [f.load(type, f.at(start, place)) for start in starts]
                columns.append(transform(f, self.isa, matrix, pixels))
            to = f.at(target, f.mul(v, self.lanes * ITEMSIZE))
            # The next tile's places, in as many pages, come from far away: ask for them in time.
            for place in range(PLACES):
                f.prefetch(f.at(to, place * plane + self.planes.panel * ITEMSIZE), write=True)
            for y, row in enumerate(zip(*columns, strict=True)):
                for x, value in enumerate(transform(f, self.isa, matrix, row)):
                    f.store(value, f.at(to, (y * PATCH + x) * plane))

        f.loop(0, count, one)
        f.ret()
        return name


def each_part(
    f: Function, range: tuple[Index, Index], total: int, most: int, body: Callable[[Index, int], None]
) -> None:
    """``body(part, size)`` for a range of the parts of `total`, which are `most` large but for the last."""
    first, last = range
    full, rest = divmod(total, most)
    f.loop(first, f.min(last, full), lambda part: body(part, most))
    if rest and isinstance(last, int):
        body(full, rest)
    elif rest:
        with f.when(f.compare("icmp sgt", f.i64(last), f.i64(full))):
            body(full, rest)
