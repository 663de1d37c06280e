"""The least time of a step: computing, main memory and links at their published peaks, each perfectly overlapped."""

import dataclasses

from sr_jax.parallel.chips import Chip


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one step on one device.

    Attributes:
        compute: Matrix products, the recomputed ones included.
        hbm: Main memory.
        links: Collectives, over all of the chip's links to its neighbours at once.
        mfu_bound: Model FLOPs over what the chips could do in the longest of the three.
    """

    compute: float
    hbm: float
    links: float
    mfu_bound: float

    @property
    def seconds(self) -> float:
        """The longest of the three: no step is faster."""
        return max(self.compute, self.hbm, self.links)


def roofline(
    chip: Chip, *, num_devices: int, model_flops: int, hardware_flops: int, hbm_bytes: int, sent_bytes: int
) -> Roofline:
    """The least time of a step.

    Args:
        chip: Its peaks.
        num_devices: Chips.
        model_flops: Of the whole step.
        hardware_flops: Of the whole step, the recomputed ones included; split evenly over the chips.
        hbm_bytes: Of one chip.
        sent_bytes: Of one chip.
    """
    compute = hardware_flops / (num_devices * chip.flops)
    hbm = hbm_bytes / chip.hbm_bandwidth
    links = sent_bytes / chip.link_bandwidth
    longest = max(compute, hbm, links)
    return Roofline(compute, hbm, links, model_flops / (num_devices * chip.flops * longest))
