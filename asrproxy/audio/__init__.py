"""Bytes to utterances: sniffing, the WAV fast path, decoding in worker processes, voice activity, cutting."""
