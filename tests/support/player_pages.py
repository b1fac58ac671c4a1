"""What pages that play masks hold."""

import base64
import json
import re

import cv2
import numpy as np


def data_of(html: str) -> dict:
    """What the script of the page is given."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(text)


def decode(text: str) -> np.ndarray:
    """A picture of it: grey, or blue, green, red."""
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
