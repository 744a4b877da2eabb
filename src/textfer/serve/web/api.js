/** Talking to the server: keys, waiting, streams, and errors in words. */

import { askForKey, savedKey } from "./key.js";

const MAX_RETRIES = 3;
const MAX_WAIT_SECONDS = 60;
const LARGE_CHARS = 1_000_000;

/** What went wrong, in words; `detail` is what the server said of it, `passing`: it may go well another time. */
export class Failure extends Error {
  constructor(message, { detail = "", status = 0 } = {}) {
    super(message);
    this.detail = detail;
    this.status = status;
    this.passing = status === 0 || status === 401 || status === 408 || status === 429 || status >= 500;
  }
}

/** Whether it is no failure: somebody pressed Stop. */
export const stopped = (error) => error.name === "AbortError";

/** What the server has at `path`. */
export async function get(path, { signal } = {}) {
  return readJson(await send(path, { signal }));
}

/** The server's answer to `body`. `onWait(seconds)` is called while it asks for patience. */
export async function post(path, body, { signal, onWait } = {}) {
  return readJson(await send(path, { body, signal, onWait }));
}

/** The events of a streamed answer as they come: {text} for a piece, then what is known of the whole. */
export async function* stream(path, body, { signal, onWait } = {}) {
  const response = await send(path, { body: { ...body, stream: true }, signal, onWait });
  for await (const data of events(response.body, signal)) {
    if (data === "[DONE]") return;
    const event = parse(data);
    if (event.error) throw new Failure("The server could not finish.", { detail: sentence(event.error.message), status: 500 });
    yield event;
  }
  throw new Failure("The connection broke off before the end.");
}

async function send(path, { body, signal, onWait = () => {} }) {
  for (let retries = 0; ; ) {
    const key = savedKey();
    const response = await reach(path, { body, signal, key });
    if (response.ok) return response;
    const detail = await said(response);
    if (response.status === 401) {
      if (key === savedKey() && !(await askForKey(key ? "That key was not accepted." : ""))) {
        throw new Failure("This server wants an API key before it answers.", { status: 401 });
      }
      continue;
    }
    const wait = secondsToWait(response, retries);
    if (wait === null || retries === MAX_RETRIES) throw inWords(response.status, detail);
    retries += 1;
    await pause(wait, signal, onWait);
  }
}

async function reach(path, { body, signal, key }) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const content = body && JSON.stringify(body);
  try {
    return await fetch(path, { method: body ? "POST" : "GET", headers, body: content, signal, cache: "no-store" });
  } catch (error) {
    if (stopped(error)) throw error;
    // a server that refuses a large body may close the connection before its words arrive
    const large = content?.length > LARGE_CHARS ? " Or the text is longer than it takes." : "";
    throw new Failure(`The server cannot be reached. Is it still running?${large}`);
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch (error) {
    if (stopped(error)) throw error;
    throw new Failure("The server's answer could not be read.");
  }
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Failure("The server's answer could not be read.");
  }
}

/** The `data` of every event of a stream (server-sent events). */
async function* events(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const whole = (rest + value).split(/\r?\n\r?\n/);
      rest = whole.pop();
      for (const event of whole) {
        const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      }
    }
  } catch (error) {
    if (signal?.aborted || error instanceof Failure) throw error;
    throw new Failure("The connection broke off before the end.");
  } finally {
    reader.cancel().catch(() => {}); // whoever stops listening lets the server stop too
  }
}

async function said(response) {
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? body?.detail?.[0]?.msg ?? body?.detail;
  return typeof message === "string" ? sentence(message) : "";
}

function sentence(text) {
  const words = String(text ?? "").trim();
  return words && !/[.!?…]$/.test(words) ? `${words}.` : words;
}

function secondsToWait(response, retries) {
  const header = response.headers.get("Retry-After");
  if (response.status !== 429 && !(response.status === 503 && header)) return null;
  const seconds = Number(header ?? 2 ** retries);
  const known = Number.isFinite(seconds) ? seconds : (Date.parse(header) - Date.now()) / 1000;
  return known > MAX_WAIT_SECONDS ? null : Math.max(1, Math.ceil(known || 1));
}

async function pause(seconds, signal, onWait) {
  for (let left = seconds; left > 0; left -= 1) {
    onWait(left);
    await new Promise((resolve, reject) => {
      const timer = setTimeout(done, 1000);
      signal?.addEventListener("abort", done, { once: true });
      function done() {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      }
    });
  }
  onWait(0);
}

function inWords(status, detail) {
  const words = {
    404: "The server does not have that.",
    408: "That took too long, and the server gave up.",
    413: "The text is longer than this server takes.",
    429: "The server is busy with other requests. Try again in a minute.",
    503: "The server cannot do this just now.",
    504: "That took too long, and the server gave up.",
  };
  const kind = status >= 500 ? "Something failed in the server; its log says what." : "The server did not accept this.";
  return new Failure(words[status] ?? kind, { detail, status });
}
