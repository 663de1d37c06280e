"""From the colours that a frame is stored in to those of a usual screen: RGB of sRGB's primaries, as it is shown.

What a file says of its colours is taken at its word. Where it says nothing, players' custom holds: pictures of high
definition have the luma of BT.709, smaller ones that of BT.601. HDR and wide gamuts are brought into the range of a
usual screen by libswscale.
"""

import dataclasses

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8, UInt16

from sr_jax.errors import UserError

# Numbers are those of ITU-T H.273, which FFmpeg keeps.
_UNKNOWN = frozenset({0, 2, 3})
_BT709, _BT2020, _PQ, _HLG = 1, 9, 16, 18
# Luma matrices, with libswscale's number of each. RGB has none.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_OTHER_MATRICES = {8: "YCgCo", 10: "BT.2020 with constant luminance", 11: "Y'D'zD'x", 12: "derived", 13: "derived"} | {
    14: "ICtCp",
    15: "IPT",
    16: "YCgCo-R",
    17: "YCgCo-R",
}
# Brightness curves that screens show about alike, and those that are converted: linear light, PQ, DCDM and HLG.
_USUAL_TRANSFERS = _UNKNOWN | {1, 4, 5, 6, 7, 11, 12, 13, 14, 15}
_CONVERTED_TRANSFERS = frozenset({8, _PQ, 17, _HLG})
# Primaries that differ too little from those of a screen to be seen, and those that are converted: film, BT.2020, XYZ
# and both P3.
_USUAL_PRIMARIES = _UNKNOWN | {1, 4, 5, 6, 7, 22}
_CONVERTED_PRIMARIES = frozenset({8, _BT2020, 10, 11, 12})
# Beyond this, a picture counts as high definition.
_SD_WIDTH, _SD_HEIGHT = 1279, 576


@dataclasses.dataclass(frozen=True)
class Colours:
    """What the numbers of a frame mean.

    Attributes:
        matrix: Its luma, as libswscale counts; None for a frame that is RGB.
        range: 0 as its pixel format has it, 1 limited, 2 full.
        transfer: The curve to convert from, by its number in H.273; None for a frame that a screen shows as it is.
        primaries: Likewise.
    """

    matrix: int | None
    range: int
    transfer: int | None = None
    primaries: int | None = None


def colours_of(frame: av.VideoFrame) -> Colours:
    """What a frame says of its colours, and what it leaves open.

    Raises:
        UserError: For colours that cannot be converted, by their name.
    """
    transfer, primaries, matrix = frame.color_trc, frame.color_primaries, frame.colorspace
    if transfer not in _USUAL_TRANSFERS | _CONVERTED_TRANSFERS:
        raise UserError(f"its brightness curve (number {transfer} of H.273) cannot be converted")
    if primaries not in _USUAL_PRIMARIES | _CONVERTED_PRIMARIES:
        raise UserError(f"its primary colours (number {primaries} of H.273) cannot be converted")
    deep = transfer in (_PQ, _HLG)
    wide = primaries == _BT2020 or (deep and primaries in _UNKNOWN)
    if frame.format.is_rgb:
        matrix = None
    elif matrix in _UNKNOWN:
        matrix = _BT2020 if wide else _usual_matrix(frame.width, frame.height)
    elif matrix not in _MATRICES:
        name = _OTHER_MATRICES.get(matrix, "unknown")
        raise UserError(f"its colours ({name}, number {matrix} of H.273) cannot be converted")
    matrix = None if matrix is None else _MATRICES[matrix]
    if transfer in _USUAL_TRANSFERS and primaries in _USUAL_PRIMARIES:
        return Colours(matrix, frame.color_range)
    return Colours(
        matrix,
        frame.color_range,
        transfer if transfer in _CONVERTED_TRANSFERS else _BT709,
        _BT2020 if wide else primaries if primaries in _CONVERTED_PRIMARIES else _BT709,
    )


def _usual_matrix(width: int, height: int) -> int:
    """What players take for the luma matrix of a picture that does not say it; a portrait counts as its landscape."""
    return 1 if max(width, height) > _SD_WIDTH or min(width, height) > _SD_HEIGHT else 5


class Converter:
    """Turns frames as they are stored into RGB of a size; made once for a video."""

    def __init__(self) -> None:
        # One for each kind of result: setting one up takes longer than converting a small frame.
        self._reformatters: dict[tuple[int, int, str], VideoReformatter] = {}

    def rgb(
        self, frame: av.VideoFrame, colours: Colours, height: int, width: int
    ) -> UInt8[np.ndarray, "{height} {width} 3"]:
        """RGB without an alpha channel: over black, for what lies behind a transparent pixel is arbitrary."""
        if colours.transfer is not None and (height < frame.height or width < frame.width):
            # The table that converts colours takes seconds to set up: for one size only.
            whole = self.rgb(frame, colours, max(height, frame.height), max(width, frame.width))
            return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        alpha = any(component.is_alpha for component in frame.format.components)
        pixels = self._converted(frame, colours, height, width, "rgba" if alpha else "rgb24")
        if not alpha:
            return pixels
        return (pixels[..., :3] * (pixels[..., 3:] / np.float32(255)) + np.float32(0.5)).astype(np.uint8)

    def grey(
        self, frame: av.VideoFrame, colours: Colours, height: int, width: int
    ) -> UInt16[np.ndarray, "{height} {width}"]:
        """The green channel in 16 bits, which is the brightness of a frame without colours; no curve is converted."""
        plain = dataclasses.replace(colours, transfer=None, primaries=None)
        return self._converted(frame, plain, height, width, "rgb48le")[..., 1]

    def _converted(
        self, frame: av.VideoFrame, colours: Colours, height: int, width: int, pixel_format: str
    ) -> np.ndarray:
        reformatter = self._reformatters.setdefault((height, width, pixel_format), VideoReformatter())
        if colours.transfer is not None:
            frame.color_trc, frame.color_primaries = colours.transfer, colours.primaries
        return reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=pixel_format,
            src_colorspace=colours.matrix,
            src_color_range=colours.range,
            interpolation="AREA" if height < frame.height or width < frame.width else None,
            dst_color_trc=None if colours.transfer is None else _BT709,
            dst_color_primaries=None if colours.transfer is None else _BT709,
            threads=1,
        ).to_ndarray()
