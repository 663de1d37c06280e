"""The formulas of the objectives on hidden states in plain NumPy, float64, token by token."""

import numpy as np


def resized(tokens, grid):
    """Linear interpolation of `[t y x d]`, axis by axis, with a triangle as wide as the step where one shrinks."""
    for axis, size in enumerate(grid):
        before = tokens.shape[axis]
        if size == before:
            continue
        step, rows = before / size, []
        for place in range(size):
            centre = (place + 0.5) * step - 0.5
            weights = [max(0.0, 1 - abs(token - centre) / max(step, 1.0)) for token in range(before)]
            rows.append(np.tensordot(np.array(weights) / sum(weights), tokens, (0, axis)))
        tokens = np.stack(rows, axis=axis)
    return tokens


def cosine(left, right):
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


def mean_cosine(left, right):
    """Of two grids `[... d]` of one shape."""
    width = left.shape[-1]
    return np.mean([cosine(a, b) for a, b in zip(left.reshape(-1, width), right.reshape(-1, width), strict=True)])


def spatial_norm(tokens, share):
    result = np.empty_like(tokens)
    for frame in range(len(tokens)):
        for channel in range(tokens.shape[-1]):
            values = tokens[frame, ..., channel]
            mean = values.sum() / values.size
            deviation = np.sqrt(((values - mean) ** 2).sum() / values.size)
            result[frame, ..., channel] = (values - share * mean) / (deviation + 1e-6)
    return result


def trd(student, teacher, margin, relations):
    """Of `[t y x d]` on one grid."""
    frames, width = len(student), student.shape[-1]
    student, teacher = student.reshape(-1, width), teacher.reshape(-1, width)
    frame_of = np.repeat(np.arange(frames), len(student) // frames)
    excess = []
    for i in range(len(student)):
        for j in range(len(student)):
            same = frame_of[i] == frame_of[j]
            if relations == "both" or same == (relations == "spatial"):
                difference = cosine(student[i], student[j]) - cosine(teacher[i], teacher[j])
                excess.append(max(abs(difference) - margin, 0.0))
    return np.mean(excess)


def crepa(student, teacher, distance, tau, all_offsets, divide):
    """Of `[t y x d]` on one grid: the mean of frames with themselves, and that with their neighbours."""
    frames, own, totals = len(student), [], []
    for f in range(frames):
        own.append(mean_cosine(student[f], teacher[f]))
        total, counts = own[-1], 1.0
        for k in range(frames):
            if 1 <= abs(k - f) <= distance and (all_offsets or abs(k - f) == distance):
                total += np.exp(-abs(k - f) / tau) * mean_cosine(student[f], teacher[k])
                counts += np.exp(-abs(k - f) / tau)
        totals.append(total / counts if divide else total)
    return np.mean(own), np.mean(totals)
