// What the page asks of the service: JSON by POST, never anything in an address.

import { meta } from "./dom.js";

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const base = meta("base");

/** The answer to one question; `Refused` with the service's own sentence where it is an error. */
export async function post(question, body, signal) {
  let answer;
  try {
    answer = await fetch(`${base}/api/${question}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Explorer-Token": meta("token") },
      body: JSON.stringify(body),
      credentials: "same-origin",
      signal,
    });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Refused(0, "The service does not answer. Is it running?");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.detail ?? `The service answered with ${answer.status}.`);
  if (said.refused) throw new Refused(said.refused.status, said.refused.detail);
  return said;
}

/** Ask one after the other, and of what waits only the newest. */
export function newest(work) {
  let busy = false;
  let waiting = null;
  return async function ask(...given) {
    if (busy) { waiting = given; return; }
    busy = true;
    try {
      await work(...given);
    } finally {
      busy = false;
      if (waiting !== null) { const next = waiting; waiting = null; ask(...next); }
    }
  };
}
