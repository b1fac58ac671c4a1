"""Makes masks of any image or video, and what people do with them."""
