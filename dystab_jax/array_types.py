"""Array types with their shapes. NHWC throughout."""

import jax
import numpy as np
from jaxtyping import Float, UInt8

Array = jax.Array | np.ndarray
"""Functions of JAX arrays take NumPy's too; jitted ones see tracers, which are JAX arrays."""
Image = Float[Array, "B H W 3"]
"""I: RGB in [0, 1]."""
Flow = Float[Array, "B H W 2"]
"""u: pixels per frame gap at this array's resolution, (dx right, dy down)."""
Mask = Float[Array, "B H W 1"]
"""m: in [0, 1], 1 = object; the complement is written ``1 - mask``."""
PerSample = Float[Array, " B"]
"""One number per sample; means over the batch are taken by the caller."""
Scalar = float | Float[Array, ""]
"""One number for all samples; a jitted function may see it as an array."""
Picture = UInt8[np.ndarray, "_H _W 3"]
"""An RGB picture of any size as files and screens have it, outside of the networks."""
