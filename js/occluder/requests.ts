/** What the occluder asks of the kernel, and when. */
import { rgba } from "../lib/atlas";
import { type Answer, bytes } from "../lib/kernel";
import type { Session } from "../session";
import type { Frame, Photo } from "../state";

export function photoOf(answer: Answer, buffer: DataView | undefined): Photo {
  return {
    picture: answer.picture as number,
    height: answer.height as number,
    width: answer.width as number,
    pixels: rgba(bytes(buffer)),
  };
}

export function linkOccluder({ store, kernel, signal }: Session): void {
  kernel.answers("photo", (answer, [rgb]) => store.set({ photo: photoOf(answer, rgb) }));
  kernel.answers("fill", (answer, [rgb]) => store.set({ filling: photoOf(answer, rgb) }));
  kernel.answers("occlude", (answer) => {
    store.set({ frame: answer as unknown as Frame, latency: performance.now() - (answer.at as number) });
  });
  store.watch(["picture", "_revision"], () => kernel.ask("photo", { picture: store.get("picture") }), signal);
  store.watch(
    ["picture", "_revision", "fill"],
    () => kernel.ask("fill", { picture: store.get("picture"), fill: store.get("fill") }),
    signal,
  );
  store.watch(
    ["picture", "_revision", "position", "size", "shape", "fill", "target"],
    () =>
      kernel.ask("occlude", {
        picture: store.get("picture"),
        position: store.get("position"),
        size: store.get("size"),
        shape: store.get("shape"),
        fill: store.get("fill"),
        target: store.get("target"),
        at: performance.now(),
      }),
    signal,
  );
}
