"""What teams run today: Flask, pydub and the vendor's own SDK, written with the care that its documents teach.

The token is cached and renewed ahead; audio is made mono, 16 bit, 16 kHz where it is not yet; every call is a task of the official client,
which opens a connection and a thread for it, as it always does. Run under gunicorn with gevent workers.
"""
# mypy: ignore-errors

import io
import json
import os
import threading
import time
import wave

import nls
from flask import Flask, jsonify, request
from nls.token import getToken
from pydub import AudioSegment

GATEWAY = os.environ["NLS_GATEWAY"]  # host:port
APPKEY, KEY_ID, KEY_SECRET = os.environ["NLS_APPKEY"], os.environ["NLS_KEY_ID"], os.environ["NLS_KEY_SECRET"]
app = Flask(__name__)
_token, _until, _lock = None, 0.0, threading.Lock()


def token():
    global _token, _until
    with _lock:
        if time.time() > _until:
            _token, _until = getToken(KEY_ID, KEY_SECRET, url=GATEWAY), time.time() + 3600
        return _token


def samples(body):
    try:
        with wave.open(io.BytesIO(body)) as file:  # what fits already needs no pydub
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000):
                return file.readframes(file.getnframes())
    except wave.Error:
        pass
    # Told that it is a WAV, pydub reads it itself; else it starts ffprobe and ffmpeg, which under gevent takes a second.
    sound = AudioSegment.from_file(io.BytesIO(body), format="wav" if body.startswith(b"RIFF") else None)
    return sound.set_channels(1).set_sample_width(2).set_frame_rate(16_000).raw_data


@app.get("/livez")
def livez():
    return jsonify(status="live")


@app.post("/v1/recognize")
def recognize():
    pcm = samples(request.get_data())
    answer = {}
    recognizer = nls.NlsSpeechRecognizer(
        url=f"ws://{GATEWAY}/ws/v1",
        token=token(),
        appkey=APPKEY,
        on_completed=lambda message, *_: answer.update(json.loads(message)["payload"]),
        on_error=lambda message, *_: answer.update(error=message),
    )
    recognizer.start(aformat="pcm", sample_rate=16_000, enable_punctuation_prediction=True)
    for at in range(0, len(pcm), 6400):
        recognizer.send_audio(pcm[at : at + 6400])
    recognizer.stop()
    if "result" not in answer:
        return jsonify(error=answer.get("error", "no answer")), 502
    return jsonify(text=answer["result"])
