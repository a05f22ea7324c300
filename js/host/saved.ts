/** An instrument on a saved page: its traits and the kernel's answers, without a kernel. */
import type { Listener } from "./kernel";
import type { Model } from "./session";

export interface Saved {
  state: Record<string, unknown>;
  answers: { content: Record<string, unknown>; buffers: string[] }[];
}

function unpack(base64: string): DataView {
  const binary = atob(base64);
  return new DataView(Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer);
}

/**
 * A model that answers from what was saved.
 *
 * A request is answered by the saved answer of its kind whose fields agree with the request's; what was not saved gets
 * an error that says so.
 */
export function savedModel({ state, answers }: Saved): Model {
  const traits = new Map(Object.entries(state));
  const handlers = new Map<string, Set<Listener>>();
  const of = (event: string) => {
    const known = handlers.get(event) ?? new Set<Listener>();
    handlers.set(event, known);
    return known;
  };
  const fits = (content: Record<string, unknown>, request: Record<string, unknown>) =>
    content.kind === request.kind &&
    ["layer", "channel", "checkpoint", "picture", "lens", "fill", "transform", "value"].every(
      (field) =>
        content[field] === undefined || request[field] === undefined || content[field] === request[field],
    );
  return {
    get: (name) => traits.get(name),
    set: (name, value) => {
      traits.set(name, value);
    },
    save_changes: () => {},
    on: (event, handler) => {
      of(event).add(handler);
    },
    off: (event, handler) => {
      of(event).delete(handler);
    },
    send: (message) => {
      const request = message as Record<string, unknown>;
      if (request.id === undefined) return;
      const found = answers.find(({ content }) => fits(content, request));
      const { kind, id, client, at } = request;
      const head = { kind, id, client, at };
      const reply = found
        ? { ...found.content, ...head }
        : { ...head, ok: false, error: { name: "Saved page", message: NOT_SAVED, details: "" } };
      queueMicrotask(() => {
        for (const handler of of("msg:custom")) {
          (handler as (message: unknown, buffers: DataView[]) => void)(
            reply,
            (found?.buffers ?? []).map(unpack),
          );
        }
      });
    },
  };
}

const NOT_SAVED = "was written without this. Open the notebook to see it.";
