// Drives the vendor's Node client: `node client.js recognize|transcribe|token`, parameters as JSON on standard input, events as JSON lines.
"use strict"

const fs = require("fs")
const { SpeechRecognition, SpeechTranscription } = require("alibabacloud-nls")

const say = (event, message) => console.log(JSON.stringify({ event, message: message === undefined ? null : JSON.parse(message) }))

async function run(kind, { url, appkey, token, options, piece, audio }) {
  const client = new (kind === "recognize" ? SpeechRecognition : SpeechTranscription)({ url, appkey, token })
  for (const event of ["started", "changed", "begin", "end", "completed", "failed", "closed"]) {
    client.on(event, (message) => say(event, message))
  }
  await client.start({ ...client.defaultStartParams(), ...options }, true)
  const samples = Buffer.from(audio, "base64")
  for (let at = 0; at < samples.length; at += piece) {
    client.sendAudio(samples.subarray(at, at + piece))
  }
  await client.close()
}

async function token({ id, secret, endpoint }) {
  // The SDK's own lib/token.js asks with this very client; `exports` of the package hides that file.
  const { RPCClient } = require("@alicloud/pop-core")
  const client = new RPCClient({ accessKeyId: id, accessKeySecret: secret, endpoint, apiVersion: "2019-02-28" })
  say("token", JSON.stringify(await client.request("CreateToken")))
}

const [kind] = process.argv.slice(2)
const parameters = JSON.parse(fs.readFileSync(0, "utf8"))
const work = kind === "token" ? token(parameters) : run(kind, parameters)
work.catch((error) => {
  say("rejected", JSON.stringify(String(error && error.message ? error.message : error)))
  process.exitCode = 1
})
