/** What the occluder asks of the kernel, and when. */
import { rgba } from "../lib/atlas";
import { extent } from "../lib/geometry";
import { type Answer, bytes, floats } from "../lib/kernel";
import type { Store } from "../lib/store";
import type { Session } from "../session";
import type { Frame, Photo, State } from "../state";
import { visited } from "./trail";

export function photoOf(answer: Answer, buffer: DataView | undefined): Photo {
  return {
    picture: answer.picture as number,
    height: answer.height as number,
    width: answer.width as number,
    pixels: rgba(bytes(buffer)),
  };
}

/** What the network is asked about, but for the occluder's place. */
export const SETTING = ["picture", "_revision", "size", "shape", "fill"] as const;

export function setting(store: Store<State>): Record<string, unknown> {
  return {
    picture: store.get("picture"),
    size: store.get("size"),
    shape: store.get("shape"),
    fill: store.get("fill"),
  };
}

export function linkOccluder({ store, kernel, signal }: Session): void {
  kernel.answers("photo", (answer, [rgb]) => store.set({ photo: photoOf(answer, rgb) }));
  kernel.answers("fill", (answer, [rgb]) =>
    store.set({ filling: answer.height ? photoOf(answer, rgb) : null }),
  );
  kernel.answers("occlude", (answer, [rgb]) => {
    const frame = answer as unknown as Frame;
    const { position, size } = frame;
    // The first frame also waited for whatever the kernel did before it.
    const latency = store.get("frame") ? performance.now() - (answer.at as number) : null;
    store.set({
      frame,
      patch: rgb ? { position, size: extent(size), pixels: rgba(bytes(rgb)) } : null,
      trail: visited(store.get("trail"), frame.trail, position, frame.target.now),
      latency,
    });
  });
  kernel.answers("trail", (answer, [places, values]) => {
    const at = new Int32Array(bytes(places).slice().buffer);
    store.set({
      trail: {
        number: answer.trail as number,
        visited: [...floats(values)].map((value, index) => ({
          position: [at[2 * index] ?? 0, at[2 * index + 1] ?? 0],
          value,
        })),
      },
    });
  });
  kernel.ask("trail", {});
  store.watch(["picture", "_revision"], () => kernel.ask("photo", { picture: store.get("picture") }), signal);
  store.watch(
    ["picture", "_revision", "fill"],
    () => kernel.ask("fill", { picture: store.get("picture"), fill: store.get("fill") }),
    signal,
  );
  store.watch(
    [...SETTING, "position", "target"],
    () =>
      kernel.ask("occlude", {
        ...setting(store),
        position: store.get("position"),
        target: store.get("target"),
        at: performance.now(),
      }),
    signal,
  );
}
