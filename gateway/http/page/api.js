// The v1 HTTP API as the page speaks it: send a file, follow its job, fetch its result.
// Everything that fails throws a Problem, made of the server's problem+json.

import { authorization, key, newKey } from "./key.js";

const DIRECT_LIMIT = 32 * 1024 * 1024; // bytes; larger files go straight to the object store
const PATIENCE = 90; // seconds of "busy" answers in a row before giving up
const FINAL = ["done", "failed", "cancelled"];

let storeRefusesUs = false; // the object store has no CORS rule for this page

export class Problem extends Error {
  constructor({ title = "Something went wrong", detail = "", code = "", request_id = "" }) {
    super(detail);
    Object.assign(this, { title, detail, code, requestId: request_id });
  }
}

export const cancelled = () => new Problem({ title: "Cancelled", code: "cancelled" });

// Hand one file in. Resolves to the answer: a photo's result or a video's job view, or a rig.
// tell({phase: "upload", fraction} | {phase: "wait", seconds} | {phase: "sent"})
export const blur = (file, options, tell, signal) => handIn("/v1/blur", file, options, tell, signal);
export const rig = (file, tell, signal) => handIn("/v1/rigs", file, {}, tell, signal);

// Both resolve to the contract's answer, and need no file.
export const animate = (asked, tell, signal) => ask("POST", "/v1/animate", asked, tell, signal);
export const correct = (id, asked, tell, signal) => ask("PUT", `/v1/rigs/${id}`, asked, tell, signal);

export const motions = async () => (await send("GET", "/v1/motions", {})).motions;

async function handIn(path, file, options, tell, signal) {
  if (file.size > DIRECT_LIMIT && !storeRefusesUs) {
    const id = await put(file, tell, signal);
    if (id) {
      tell({ phase: "sent" });
      return ask("POST", path, { upload_id: id, ...options }, tell, signal);
    }
  }
  return patiently(() => {
    const body = new FormData();
    for (const [name, value] of Object.entries(options)) body.append(name, value);
    body.append("file", file, file.name);
    return send("POST", path, { body, signal, sent: uploading(tell) });
  }, tell, signal);
}

function ask(method, path, asked, tell, signal) {
  const body = JSON.stringify(asked);
  const headers = { "Content-Type": "application/json" };
  return patiently(() => send(method, path, { body, headers, signal }), tell, signal);
}

// Follow a job to its end by server-sent events; asks again by itself where they fail.
export async function follow(id, tell, signal) {
  for (;;) {
    const view = await events(id, tell, signal);
    if (view) return view;
    const now = await job(id, signal); // throws when the job is gone
    if (FINAL.includes(now.status)) return now;
    tell(now);
    await pause(1, signal);
  }
}

export const job = (id, signal) => send("GET", `/v1/jobs/${id}`, { signal });
export const drop = (id) => send("DELETE", `/v1/jobs/${id}`, {});

// The upload id, or null when the browser may not talk to the object store.
async function put(file, tell, signal) {
  const asked = { size: file.size, content_type: file.type || undefined };
  const ticket = await ask("POST", "/v1/uploads", asked, tell, signal);
  try {
    await send(ticket.method, ticket.url, {
      body: file, headers: ticket.headers, signal, sent: uploading(tell),
    });
  } catch (problem) {
    if (problem.code !== "offline") throw problem;
    storeRefusesUs = true;
    return null;
  }
  return ticket.upload_id;
}

function uploading(tell) {
  return (event) => {
    const fraction = event.loaded / event.total;
    tell(fraction < 1 ? { phase: "upload", fraction } : { phase: "sent" });
  };
}

async function patiently(call, tell, signal) {
  for (let waited = 0; ;) {
    try {
      return await call();
    } catch (problem) {
      const delay = problem.retryAfter;
      if (!delay || waited + delay > PATIENCE) throw problem;
      tell({ phase: "wait", seconds: delay });
      await pause(delay, signal);
      waited += delay;
    }
  }
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(cancelled());
    }, { once: true });
  });
}

// Where the service wants another key, the person is asked, and the request made again.
// Not in the background, where a person who said "not now" would be asked every few seconds.
export async function send(method, url, given) {
  for (;;) {
    const used = key();
    try {
      return await sendOnce(method, url, given);
    } catch (problem) {
      if (problem.code !== "unauthorized" || given.background) throw problem;
      if (!await newKey(used, problem.detail)) throw problem;
    }
  }
}

// XMLHttpRequest because fetch tells nothing of an upload's progress.
function sendOnce(method, url, { body, headers = {}, signal, sent }) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled());
    const request = new XMLHttpRequest();
    request.open(method, url);
    const ours = url.startsWith("/") ? authorization() : {}; // the store shall not see the key
    for (const [name, value] of Object.entries({ ...headers, ...ours })) request.setRequestHeader(name, value);
    // A listener on upload makes a cross-origin request preflighted, which PUT is anyway.
    if (sent) request.upload.onprogress = sent;
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.onabort = () => reject(cancelled());
    request.onerror = () => reject(new Problem({
      title: "No connection",
      detail: "The server could not be reached. Check your connection and try again.",
      code: "offline",
    }));
    request.onload = () => {
      let answer = null;
      try { answer = JSON.parse(request.responseText || "null"); } catch { /* not ours */ }
      if (request.status < 400) return resolve(answer);
      const problem = new Problem(answer?.detail ? answer : {
        title: "Unexpected answer",
        detail: `The server answered ${request.status} without saying why. Try again in a moment.`,
        code: `http-${request.status}`,
      });
      if ([429, 503].includes(request.status)) {
        const seconds = Number(request.getResponseHeader("Retry-After"));
        problem.retryAfter = Math.max(seconds || 2, 1);
      }
      reject(problem);
    };
    request.send(body);
  });
}

// Resolves to the final view, or to null when the stream is lost.
// Not by EventSource, which cannot send a key.
async function events(id, tell, signal) {
  try {
    const answer = await fetch(`/v1/jobs/${id}/events`, { headers: authorization(), signal });
    if (!answer.ok) return null;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return null;
      const whole = (text + value).split("\n\n");
      text = whole.pop();
      for (const event of whole) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(event) ?? [];
        if (!name) continue; // a comment that keeps the connection open
        const view = JSON.parse(data);
        if (FINAL.includes(name)) return view;
        tell(view);
      }
    }
  } catch {
    if (signal?.aborted) throw cancelled();
    return null;
  }
}
