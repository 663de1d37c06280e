"""How fast videos are prepared, part by part, and how much memory that takes.

  python -m benchmarks.prepare_throughput

Writes benchmarks/results/prepare_throughput.json. The video is one that a package carries (19.7 seconds of a talking
woman, 640x360), copied as often as needed; the teachers are those that packages carry, with the linear codec. Released
CogVideoX and Video Depth Anything weights are not measured here: they take an accelerator.

Speed: clips of 49 frames at 480x720, each part alone, and the whole with its parts overlapping; of so few clips every
one is also looked at for the preview, which the parts leave out. Memory: the peak of a
fresh process that makes the features of more and more videos of one small clip each, and of one longer and longer
video.
"""

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "prepare_throughput.json"
VIDEOS = (4, 16, 48)
MINUTES = (0.5, 2)
_MIB = 2**20
# Frames a second of cut and repeated copies of the video.
_RATE = 24
# glibc otherwise keeps freed memory in pieces, and the peak grows with the number of calls, whatever is in use.
_RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}
_SPEED_CLIP = {"num_frames": 49, "fps": 8.0, "height": 480, "width": 720, "stride": 49, "more_sizes": ()}
_MEMORY_CLIP = {"num_frames": 17, "fps": 8.0, "height": 120, "width": 176, "stride": 17, "more_sizes": ()}


def main() -> None:
    """Measures everything, each memory in a process of its own, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    os.environ |= _RETURN_FREED_MEMORY
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:

        def run(function: Callable, *args: Any) -> Any:
            result = pool.submit(function, *args).result()
            print(json.dumps(result), flush=True)
            return result

        # Written after every part: on a busy machine the whole takes long.
        result: dict[str, Any] = {"cpu_count": os.cpu_count(), "clip": _SPEED_CLIP, "speed": run(measure_speed)}
        _write(output, result)
        for name, function, arguments in (
            ("memory_by_videos", measure_videos, VIDEOS),
            ("memory_by_minutes", measure_minutes, MINUTES),
        ):
            result[name] = []
            for argument in arguments:
                result[name].append(run(function, argument))
                _write(output, result)
    print(f"written to {output}")


def _write(output: Path, result: dict[str, Any]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")


def measure_speed() -> dict[str, Any]:
    """Clips a second of every part, and of all parts together."""
    import numpy as np

    from sr_jax.media import video
    from sr_jax.preparation.building import make_preparation
    from sr_jax.preparation.dataset import make_shard
    from sr_jax.preparation.framing import Kind, Size
    from sr_jax.preparation.merging import merge
    from sr_jax.preparation.work import Shard, write_features
    from sr_jax.teachers.registry import load_depth_teacher, load_face_teacher

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _copy_clip(folder / "videos", 2)
        config = _config(folder, _SPEED_CLIP, batch_size=1)
        made = make_preparation(config, folder / "videos", folder / "data", strict=True)
        kind = Kind(Size(_SPEED_CLIP["height"], _SPEED_CLIP["width"]))
        extractor, reader = made.extractors[kind], made.reader
        seconds, (plan, _) = _timed(lambda: [made.planner(file) for file in made.files])
        clips = len(plan.clips)
        parts = {"decode, shots and faces to plan clips": seconds / (2 * clips)}
        seconds, read = _timed(lambda: list(reader.clips(plan.clips)))
        parts["decode and crop"] = seconds / clips
        extractor(read[:1], 1)  # compiles
        seconds, features = _timed(lambda: [extractor([clip], 1)[0] for clip in read])
        parts["codec, depth (silhouette stand-in), faces and text"] = seconds / clips
        depth, detector = load_depth_teacher(config.depth.to_dict()), load_face_teacher(config.faces.to_dict()).detector
        seconds, _ = _timed(lambda: [depth(clip.frames, made.fps, clip.plan.source.path) for clip in read])
        parts["  of these: depth"] = seconds / clips
        seconds, _ = _timed(lambda: [detector(clip.frames) for clip in read])
        parts["  of these: face detector"] = seconds / clips

        def write() -> None:
            for clip, (arrays, kept) in zip(read, features):
                video.write_video(folder / "clip.mp4", clip.frames, made.fps, lossless=True)
                np.savez(folder / "depth.npz", disparity=kept["depth"]["disparity"].astype(np.float16))
                write_features(folder / "features.safetensors", arrays)

        parts["write pixels, depth and features"] = _timed(write)[0] / clips
        seconds, _ = _timed(lambda: make_shard(made, Shard(), lambda videos, clips: None))
        merge_seconds, _ = _timed(lambda: merge(made))
    return {
        "clips": clips,
        "clips_per_second": {name: round(1 / value, 3) for name, value in parts.items()},
        "all_parts_one_after_the_other": round(1 / sum(v for n, v in parts.items() if not n.startswith(" ")), 3),
        "all_parts_overlapping": round(2 * clips / seconds, 3),
        "merge": round(2 * clips / merge_seconds, 3),
    }


def measure_videos(count: int) -> dict[str, Any]:
    """Peak memory of preparing this many videos of one clip."""
    with tempfile.TemporaryDirectory() as scratch:
        _copy_clip(Path(scratch) / "videos", count, seconds=2.4)
        return {"videos": count, **_measure(Path(scratch))}


def measure_minutes(minutes: float) -> dict[str, Any]:
    """Peak memory of preparing one video of this length."""
    with tempfile.TemporaryDirectory() as scratch:
        _copy_clip(Path(scratch) / "videos", 1, seconds=60 * minutes)
        # Clips as far apart as in the shortest one, so that the teachers have the same work.
        stride = int(60 * minutes * _MEMORY_CLIP["fps"] / 4)
        return {"minutes": minutes, **_measure(Path(scratch), stride=stride)}


def _measure(folder: Path, **changes: int) -> dict[str, Any]:
    from sr_jax.preparation.building import make_preparation
    from sr_jax.preparation.dataset import make_shard
    from sr_jax.preparation.merging import merge, read_summary
    from sr_jax.preparation.work import Shard

    config = _config(folder, _MEMORY_CLIP | changes, batch_size=2)
    made = make_preparation(config, folder / "videos", folder / "data", strict=True)
    start = time.monotonic()
    make_shard(made, Shard(), lambda videos, clips: None)
    features = _peak_mib()
    merge(made)
    summary = read_summary(made)
    return {
        "clips": summary.clips.total(),
        "peak_mib": features,
        "peak_mib_with_merge": _peak_mib(),
        "seconds": round(time.monotonic() - start, 1),
    }


def _config(folder: Path, clip: dict[str, Any], *, batch_size: int) -> Any:
    """The config that prepares videos with the teachers of packages, and a codec in `folder`."""
    import numpy as np

    from sr_jax.configs.prepare import get_config
    from sr_jax.demo.fit_teachers.codec import fit_linear_codec

    pictures = np.random.default_rng(0).integers(0, 256, (2, 13, 32, 32, 3), dtype=np.uint8)
    codec = fit_linear_codec(
        [(1.0, pictures)], latent_channels=16, temporal_compression_ratio=4, spatial_compression_ratio=4
    )
    codec.save(folder / "codec.npz")
    config = get_config("real")
    config.clip.update(clip)
    config.shots.name = "adaptive"
    config.person.update(name="face", zoom=7.0, anchor=0.4)
    config.codec.path = str(folder / "codec.npz")
    config.default_prompt = "a woman talks"
    config.batch_size = batch_size
    return config


def _copy_clip(folder: Path, count: int, *, seconds: float | None = None) -> None:
    """Copies the packaged video, cut or repeated to a length."""
    from sr_jax.demo.real_clips.footage import WOMAN
    from sr_jax.packages import cache_folder, fetch

    (source,) = fetch(WOMAN, cache=cache_folder())
    folder.mkdir()
    first = folder / "0000.mp4"
    if seconds is None:
        first.write_bytes(source.read_bytes())
    else:
        _encode(source, first, seconds)
    for number in range(1, count):
        os.link(first, folder / f"{number:04d}.mp4")


def _encode(source: Path, target: Path, seconds: float) -> None:
    import av

    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 360, 640, "yuv420p"
        count, total = 0, round(_RATE * seconds)
        while count < total:
            with av.open(str(source)) as clip:
                for frame in itertools.islice(clip.decode(video=0), total - count):
                    frame.pts, frame.time_base = count, Fraction(1, _RATE)
                    out.mux(stream.encode(frame))
                    count += 1
        out.mux(stream.encode())


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.monotonic()
    result = function()
    return time.monotonic() - start, result


def _peak_mib() -> float:
    # Of this process alone; getrusage would start from what the parent had at the fork.
    kib = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(1024 * int(kib.group(1)) / _MIB, 1)


if __name__ == "__main__":
    main()
