// Drives OpenAI's own client: jobs as JSON on standard input, one line of JSON with what became of each on standard output.
import { File as NodeFile } from 'node:buffer';

globalThis.File ??= NodeFile; // Node 18 has it in node:buffer only

const { default: OpenAI, toFile } = await import('openai');

const calls = {
  create: (client, { file, ...rest }) => client.audio.transcriptions.create({ file, ...rest }),
  async stream(client, options) {
    const events = [];
    for await (const event of await client.audio.transcriptions.create({ ...options, stream: true })) events.push(event);
    return events;
  },
  async models(client) {
    const names = [];
    for await (const each of client.models.list()) names.push(each.id);
    return names;
  },
  model: (client, { name }) => client.models.retrieve(name),
};

async function done({ call, client = {}, options = {}, audio }) {
  const openai = new OpenAI({ apiKey: 'unused', maxRetries: 0, ...client });
  const filled = audio === undefined ? options : { model: 'whisper-1', ...options, file: await toFile(Buffer.from(audio, 'base64'), 'speech.wav') };
  try {
    return { value: await calls[call](openai, filled) };
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const headers = Object.fromEntries(error.headers?.entries() ?? []);
    return { error: { class: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type, headers } };
  }
}

let input = '';
for await (const chunk of process.stdin) input += chunk;
for (const job of JSON.parse(input)) process.stdout.write(JSON.stringify(await done(job)) + '\n');
