"""Says how far the masks of a video are, over all that is done for them."""

from types import TracebackType

from tqdm import tqdm

READING, PREDICTING, REFINING = 5, 2, 5
"""Shares of the time of a frame: reading with its flow; networks; CRF and files."""
_WHOLE = READING + PREDICTING + REFINING
_READING = "reading and flow"
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
_WITHOUT_LENGTH = "{desc} [{elapsed}]"


class Progress:
    """Counts frames and says nothing."""

    def __init__(self) -> None:
        self.read_frames = self.done_frames = 0

    def read(self) -> None:
        """Counts a frame that has been read and has its flow."""
        self.read_frames += 1

    def predicts(self, frames: int) -> None:
        """Hears that so many frames go through the networks."""

    def predicted(self, frames: int) -> None:
        """Counts frames that have been through the networks."""

    def done(self) -> None:
        """Counts a frame whose mask is written."""
        self.done_frames += 1

    def say(self, text: str) -> None:
        """Says something about the video."""


class Bar(Progress):
    """Shows one bar over all the work, with the time that is left, and what is going on."""

    def __init__(self, name: str, frames: int):
        """Begins.

        Args:
          name: of the video.
          frames: about how many it has; 0 where that is unknown.
        """
        super().__init__()
        self._name, self._frames = name, frames
        style = _FORMAT if frames else _WITHOUT_LENGTH
        self._bar = tqdm(total=frames * _WHOLE or None, desc=name, bar_format=style)
        self._predicted = 0
        self._show(_READING)

    def read(self) -> None:
        super().read()
        self._forward(READING)
        self._show(self._stage)  # frames may be read while others are masked

    def predicts(self, frames: int) -> None:
        self._show(f"networks ({frames} frames)")
        self._bar.refresh()

    def predicted(self, frames: int) -> None:
        self._forward(PREDICTING * frames)
        self._predicted += frames
        self._show("CRF and files")

    def done(self) -> None:
        super().done()
        self._forward(REFINING)
        self._show(_READING if self.done_frames == self._predicted else "CRF and files")

    def say(self, text: str) -> None:
        tqdm.write(text)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            # The length that a file states may be wrong.
            self._bar.total = self._bar.n
            self._show("")
        self._bar.close()

    def _forward(self, work: int) -> None:
        if self._bar.total is not None:
            self._bar.total = max(self._bar.total, self._bar.n + work)
        self._bar.update(work)

    def _show(self, stage: str) -> None:
        self._stage = stage
        of = f" of {self._frames}" if self._frames and stage else ""
        doing = f", {stage}" if stage else ""
        text = f"{self._name}: {self.done_frames}{of} masks{doing}"
        self._bar.set_description_str(text, refresh=False)
