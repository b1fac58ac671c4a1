"""Array types with their shapes. NHWC throughout."""

import numpy as np
from jaxtyping import Array, Float, UInt8

Image = Float[Array, "B H W 3"]
"""I: RGB in [0, 1]."""
Flow = Float[Array, "B H W 2"]
"""u: pixels per frame gap at this array's resolution, (dx right, dy down)."""
Mask = Float[Array, "B H W 1"]
"""m: in [0, 1], 1 = object; the complement is written ``1 - mask``."""
PerSample = Float[Array, " B"]
"""One number per sample; means over the batch are taken by the caller."""
Picture = UInt8[np.ndarray, "H W 3"]
"""An RGB picture as files and screens have it, outside of the networks."""
