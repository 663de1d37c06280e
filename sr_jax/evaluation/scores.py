"""What the scores are called, which way is better, and how to say what they mean."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Score:
    """One score of the table.

    Attributes:
        key: Its name in `metrics.json`.
        label: Its name for a reader.
        unit: Unit of its value; empty for a pure number.
        direction: +1 when higher is better, -1 when lower is better, 0 when it only describes.
        digits: Decimals to show.
        meaning: One plain sentence: what is measured, and how.
        paper_finds_better: Whether the paper's Table 1 finds it better with SemanticREPA than with fine-tuning alone.
    """

    key: str
    label: str
    unit: str
    direction: int
    digits: int
    meaning: str
    paper_finds_better: bool = False


STRUCTURE_ERROR = Score(
    "structure_error",
    "Structure error",
    "%",
    -1,
    2,
    "A judge network reads the depth of every pixel from the generated latents; mean absolute difference to the depth "
    "that the dataset holds for the real clip (exact for rendered clips), in percent of that clip's range (disparity, "
    "near is large).",
)
ID_SCORE = Score(
    "id_score",
    "ID score",
    "",
    +1,
    3,
    "A judge face recogniser compares the face in every generated frame with the face in the real first frame: mean "
    "cosine over the frames in which the judge's detector finds a face. Clips whose first frame shows no face are left "
    "out.",
    paper_finds_better=True,
)
MOTION_SCORE = Score(
    "motion_score",
    "Motion score",
    "",
    -1,
    2,
    "Squared Fréchet distance between the optical flow of the generated clips and of the real clips, over the whole "
    "set: DIS flow in percent of the frame's height per frame, pooled on a grid of 4 x 3 cells, covariances shrunk.",
    paper_finds_better=True,
)
PSNR = Score("psnr", "PSNR", "dB", +1, 2, "Peak signal-to-noise ratio to the real clip, mean over frames.")
SSIM = Score("ssim", "SSIM", "", +1, 4, "Structural similarity to the real clip, mean over frames.")
FACE_FOUND = Score(
    "face_found",
    "Faces found",
    "%",
    +1,
    1,
    "Of the frames in which the judge's detector finds a face in the real clip, those in which it finds one in the "
    "generated clip.",
)
MOTION_MAGNITUDE = Score(
    "motion_magnitude",
    "Amount of motion",
    "%",
    0,
    3,
    "Mean length of the optical flow, in percent of the frame's height per frame. Neither more nor less is better: "
    "compare it with the real clips.",
)

SCORES = (STRUCTURE_ERROR, ID_SCORE, MOTION_SCORE, PSNR, SSIM, FACE_FOUND, MOTION_MAGNITUDE)
"""All scores in the order in which a table shows them."""

CLIP_SCORES = tuple(score for score in SCORES if score is not MOTION_SCORE)
"""The scores that every clip has; the motion score belongs to a set of clips."""
