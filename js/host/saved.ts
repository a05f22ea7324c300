/** An instrument on a saved page: its traits and the kernel's answers, without a kernel. */
import type { Listener } from "./kernel";
import type { Model } from "./session";

export interface Saved {
  state: Record<string, unknown>;
  answers: { content: Record<string, unknown>; buffers: string[] }[];
}

/** A buffer as `convscope._saved` packed it: deflated, as it is or as steps to the same colour of the next pixel. */
async function unpack(packed: string): Promise<DataView> {
  const deflated = Uint8Array.from(atob(packed.slice(1)), (character) => character.charCodeAt(0));
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (packed[0] === "d")
    for (let at = 3; at < bytes.length; at++) bytes[at] = (bytes[at] ?? 0) + (bytes[at - 3] ?? 0);
  return new DataView(bytes.buffer);
}

/**
 * A model that answers from what was saved.
 *
 * A request is answered by the saved answer of its kind that agrees with it in all that both name; what was not saved
 * gets an error that says so. What asks for no answer is refused.
 */
export function savedModel({ state, answers }: Saved, refused: () => void): Model {
  const traits = new Map(Object.entries(state));
  const handlers = new Map<string, Set<Listener>>();
  let answered: Promise<void> = Promise.resolve();
  const of = (event: string) => {
    const known = handlers.get(event) ?? new Set<Listener>();
    handlers.set(event, known);
    return known;
  };
  const fits = (content: Record<string, unknown>, request: Record<string, unknown>) =>
    Object.entries(request).every(
      ([field, wanted]) =>
        OF_THE_LINE.has(field) ||
        content[field] === undefined ||
        // What is listed (places, units) is a part of what was saved, or more is said of it.
        [wanted, content[field]].some((one) => one !== null && typeof one === "object") ||
        content[field] === wanted,
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
      if (request.id === undefined) return refused();
      const found = answers.find(({ content }) => fits(content, request));
      const { kind, id, client, at } = request;
      const head = { kind, id, client, at };
      const reply = found
        ? { ...found.content, ...head }
        : { ...head, ok: false, error: { name: "Saved page", message: NOT_SAVED, details: "" } };
      // One after the other, as a kernel answers.
      answered = answered.then(async () => {
        const buffers = await Promise.all((found?.buffers ?? []).map(unpack));
        for (const handler of of("msg:custom")) {
          (handler as (message: unknown, buffers: DataView[]) => void)(reply, buffers);
        }
      });
    },
  };
}

/** Fields of a request that say nothing of what it asks. */
const OF_THE_LINE = new Set(["id", "client", "at"]);

const NOT_SAVED = "was written without this. Open the notebook to see it.";
