"""A child process that reads compressed audio on its input and writes mono s16le samples: `python -m … SAMPLE_RATE`."""

from __future__ import annotations

import io
import sys


def main() -> int:
    """Exit status 1: it cannot be decoded."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=int(sys.argv[1]))
    try:
        with av.open(io.BytesIO(sys.stdin.buffer.read()), "r") as container:
            for frame in container.decode(audio=0):
                for each in resampler.resample(frame):
                    sys.stdout.buffer.write(each.to_ndarray().tobytes())
            for each in resampler.resample(None):
                sys.stdout.buffer.write(each.to_ndarray().tobytes())
    except (av.FFmpegError, IndexError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
