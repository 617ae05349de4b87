// Runs beside the audio: floats in, 16-bit samples out, about twenty times a second.

const SAMPLES = 2048;

class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { every } }) {
    super();
    this.every = every; // of each so many samples, their mean is one
    this.sum = 0;
    this.summed = 0;
    this.filled = 0;
    this.samples = new Int16Array(SAMPLES);
    this.ended = false;
    this.port.onmessage = () => {
      this.send();
      this.port.postMessage(null);
      this.ended = true;
    };
  }

  process([input]) {
    for (const value of input[0] ?? []) {
      this.sum += value;
      this.summed += 1;
      if (this.summed < this.every) continue;
      const mean = this.sum / this.summed;
      this.sum = this.summed = 0;
      this.samples[this.filled] = Math.max(-1, Math.min(1, mean)) * 32_767;
      this.filled += 1;
      if (this.filled === SAMPLES) this.send();
    }
    return !this.ended;
  }

  send() {
    if (!this.filled) return;
    const sent = this.samples.slice(0, this.filled);
    this.port.postMessage(sent, [sent.buffer]);
    this.filled = 0;
  }
}

registerProcessor("microphone", Microphone);
