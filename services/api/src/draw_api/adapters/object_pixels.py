"""Renders pixel data as a picture, with the requested window or the object's own."""

import io
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from draw_api.adapters.object_geometry import placed
from draw_api.adapters.object_tables import plan_tables, report_tables, structure_tables
from draw_api.adapters.pydicom_source import source
from draw_shared.wording import message

Array = NDArray[Any]

MAX_COLOUR_SAMPLES: Final = 120_000_000
"""Samples of a colour frame."""
MAX_GREY_PIXELS: Final = 40_000_000
"""Pixels of a grey frame: each becomes a 64-bit number, twice."""
KEPT_FRAMES: Final = 6
KEPT_BYTES: Final = 128 * 1024 * 1024
"""Bytes of decoded frames that remain in memory while another is decoded."""
KEPT_DOSES: Final = 64
DEFER_BYTES: Final = 4096
JPEG_QUALITY: Final = 90
LOSSLESS_UP_TO: Final = 300_000
"""Up to so many pixels a picture is PNG: small ones show every pixel, large ones load quickly."""
COLOUR: Final = 3
SPREAD: Final = (1.0, 99.5)
DOSE: Final = "RTDOSE"
DOSE_COLOURS: Final = np.array(
    [
        [0, 0, 0],
        [20, 40, 160],
        [0, 150, 190],
        [40, 190, 80],
        [240, 220, 40],
        [240, 120, 20],
        [220, 20, 20],
    ]
)
PLANES: Final = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
LIKELY_RATIO: Final = (0.2, 5.0)


class NotAnImage(Exception):
    """The object has nothing to render; the text says why, without anything from the file."""


class NoSuchFrame(Exception):
    """The object has fewer frames."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """One decoded frame: real values of grey pixels, or colours from 0 to 255."""

    values: Array
    center: float | None
    width: float | None
    inverted: bool


_frames: "OrderedDict[tuple[str, int], _Frame]" = OrderedDict()
_largest_doses: "OrderedDict[str, float]" = OrderedDict()


def facts(path: str, frame: int = 1) -> dict[str, Any]:
    """Return what an object contains, its range of values, and where one of its frames lies."""
    held = _header(path)
    modality = str(held.get("Modality", ""))
    kinds = {"RTSTRUCT": "structures", "RTPLAN": "plan", "SR": "report", DOSE: "dose"}
    said: dict[str, Any] = {"kind": kinds.get(modality, "other")}
    if said["kind"] == "structures":
        return said | structure_tables(path)
    if said["kind"] == "plan":
        return said | plan_tables(path)
    if said["kind"] == "report":
        return said | report_tables(path)
    if said["kind"] == "other" and "Rows" in held:
        said["kind"] = "image"
    try:
        return said | _image_facts(path, held, frame)
    except (NotAnImage, NoSuchFrame) as error:
        return said | {"trouble": str(error) or message("there is no image in it")}
    except Exception:  # noqa: BLE001 - codecs raise whatever they like
        return said | {
            "trouble": message("its pixel data are damaged, or in a form that is not supported")
        }


def picture(
    path: str,
    *,
    frame: int,
    center: float | None,
    width: float | None,
    edge: int,
    inverted: bool,
) -> tuple[bytes, str]:
    """Return one frame as PNG or JPEG with its media type."""
    held = _header(path)
    decoded = _decode_cached(path, held, frame)
    shown = decoded.values
    if shown.ndim != COLOUR:
        shown = _apply_window(
            decoded,
            center if center is not None else decoded.center,
            width if width is not None else decoded.width,
        )
        if decoded.inverted != inverted:
            shown = 255 - shown
        if held.get("Modality") == DOSE:
            shown = _apply_colours(shown)
    image = _fit(Image.fromarray(shown), _aspect(held), edge)
    out = io.BytesIO()
    if image.width * image.height <= LOSSLESS_UP_TO:
        image.save(out, "PNG", compress_level=3)
        return out.getvalue(), "image/png"
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue(), "image/jpeg"


def _header(path: str) -> Dataset:
    return pydicom.dcmread(
        source(path), force=True, defer_size=DEFER_BYTES, stop_before_pixels=True
    )


def _image_facts(path: str, held: Dataset, number: int) -> dict[str, Any]:
    shown = _decode_cached(path, held, number)
    grey = shown.values.ndim != COLOUR
    low, high = (float(shown.values.min()), float(shown.values.max())) if grey else (0.0, 255.0)
    if held.get("Modality") == DOSE:
        low, high = 0.0, _largest_dose(path, held)
    units = {"CT": "HU", DOSE: str(held.get("DoseUnits", "")).capitalize()}
    return {
        "frames": max(1, int(held.get("NumberOfFrames") or 1)),
        "rows": int(held.Rows),
        "columns": int(held.Columns),
        "center": shown.center if grey else None,
        "width": shown.width if grey else None,
        "low": low,
        "high": high,
        "unit": units.get(str(held.get("Modality", "")), "") if grey else "",
        "windowed": grey,
        **placed(held, number, _functional_items(held, number)),
    }


def _largest_dose(path: str, held: Dataset) -> float:
    """Return the largest dose of all frames: one scale for the whole object."""
    known = _largest_doses.get(path)
    if known is None:
        scaling = float(held.get("DoseGridScaling") or 1.0)
        frames = max(1, int(held.get("NumberOfFrames") or 1))
        known = max(float(_pixels(path, index).max()) for index in range(frames)) * scaling
        while len(_largest_doses) >= KEPT_DOSES:
            _largest_doses.popitem(last=False)
        _largest_doses[path] = known
    return known


def _decode_cached(path: str, held: Dataset, number: int) -> _Frame:
    """Return a frame, from memory if it was decoded lately."""
    key = (path, number)
    known = _frames.get(key)
    if known is None:
        while sum(kept.values.nbytes for kept in _frames.values()) > KEPT_BYTES:
            _frames.popitem(last=False)
        known = _frames[key] = _decode(path, held, number)
        while len(_frames) > KEPT_FRAMES:
            _frames.popitem(last=False)
    _frames.move_to_end(key)
    return known


def _decode(path: str, held: Dataset, number: int) -> _Frame:
    if "Rows" not in held or "Columns" not in held:
        raise NotAnImage(message("there is no image in it"))
    samples = int(held.get("SamplesPerPixel") or 1)
    most = MAX_GREY_PIXELS if samples == 1 else MAX_COLOUR_SAMPLES
    if int(held.Rows) * int(held.Columns) * samples > most:
        raise NotAnImage(message("the image is too large to be shown here"))
    if not 1 <= number <= max(1, int(held.get("NumberOfFrames") or 1)):
        raise NoSuchFrame
    pixels = _pixels(path, number - 1)
    if str(held.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, held)
    if pixels.ndim == COLOUR:
        return _Frame(_eight_bit(pixels), None, None, inverted=False)
    return _grey(path, pixels, held, number)


def _pixels(path: str, index: int) -> Array:
    try:
        return pixel_array(source(path), index=index)
    except (AttributeError, ValueError):
        # Try to read it as a whole: deflated data sets, odd elements before the pixel data.
        return pixel_array(pydicom.dcmread(source(path), force=True), index=index)


def _grey(path: str, pixels: Array, held: Dataset, number: int) -> _Frame:
    inverted = str(held.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    transformed = _functional(held, number, "PixelValueTransformationSequence") or held
    values = np.asarray(apply_modality_lut(pixels, transformed))
    if held.get("Modality") == DOSE:
        values = values * float(held.get("DoseGridScaling") or 1.0)
        top = _largest_dose(path, held)
        return _Frame(values.astype(np.float32), top / 2, top or 1.0, inverted=inverted)
    voi = _functional(held, number, "FrameVOILUTSequence") or held
    center, width = _first(voi.get("WindowCenter")), _first(voi.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        if "VOILUTSequence" in voi:
            values = np.asarray(apply_voi_lut(values, voi))
        low, high = (float(v) for v in np.percentile(values, SPREAD))
        center, width = (low + high) / 2, max(1.0, high - low)
    return _Frame(values.astype(np.float32), center, width, inverted=inverted)


def _functional(held: Dataset, number: int, keyword: str) -> Dataset | None:
    """Return an item of one frame's functional groups (PS3.3 C.7.6.16), if there is one."""
    for group in _functional_groups(held, number):
        found = group.get(keyword)
        if found:
            item: Dataset = found[0]
            return item
    return None


def _functional_groups(held: Dataset, number: int) -> Iterator[Dataset]:
    """Yield the functional groups of a frame, its own before those that all frames share."""
    yield from (held.get("PerFrameFunctionalGroupsSequence") or [])[number - 1 : number]
    yield from (held.get("SharedFunctionalGroupsSequence") or [])[:1]


def _functional_items(held: Dataset, number: int) -> list[Dataset]:
    """Return a frame's position from its functional groups."""
    found = (_functional(held, number, keyword) for keyword in PLANES)
    return [item for item in found if item is not None]


def _first(value: Any) -> float | None:  # noqa: ANN401 - one value or several
    try:
        return float(value[0] if hasattr(value, "__getitem__") and len(value) else value)
    except (TypeError, ValueError, IndexError):
        return None


def _apply_window(frame: _Frame, center: float | None, width: float | None) -> Array:
    """Return grey from 0 to 255 by the linear function (PS3.3 C.11.2.1.2)."""
    span = max(width or 1.0, 1e-6)
    low = (center or 0.0) - span / 2
    scaled = (frame.values - low) * (255.0 / span)
    return np.asarray(np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8))


def _apply_colours(grey: Array) -> Array:
    places = np.linspace(0, 255, len(DOSE_COLOURS))
    table = np.stack(
        [np.interp(np.arange(256), places, DOSE_COLOURS[:, band]) for band in range(COLOUR)],
        axis=1,
    )
    return np.asarray(table.astype(np.uint8)[grey])


def _eight_bit(pixels: Array) -> Array:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels[..., :COLOUR])
    top = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "iu" else float(pixels.max())
    scaled = pixels[..., :COLOUR].astype(np.float32) * (255.0 / (top or 1.0))
    return np.ascontiguousarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _aspect(held: Dataset) -> float:
    """Return the ratio of a pixel's height to its width."""
    spacing = held.get("PixelSpacing") or held.get("ImagerPixelSpacing")
    ratio = held.get("PixelAspectRatio")
    try:
        pair = spacing or ratio
        found = float(pair[0]) / float(pair[1]) if pair else 1.0
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return 1.0
    return found if LIKELY_RATIO[0] <= found <= LIKELY_RATIO[1] else 1.0


def _fit(image: Image.Image, aspect: float, edge: int) -> Image.Image:
    width, height = image.width, max(1, round(image.height * aspect))
    scale = min(1.0, edge / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
