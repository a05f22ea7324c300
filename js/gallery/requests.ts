/** What the gallery asks of the kernel, and when: pictures once, maps as they come, never for a matter of colours. */
import { rgba } from "../lib/atlas";
import { bytes } from "../lib/kernel";
import type { Session } from "../session";
import { type ExplainedClass, merged, type Row, type TileAnswer } from "./tiles";

export function linkGallery({ store, kernel, signal }: Session): void {
  kernel.answers("compute", () => {});
  kernel.answers("rows", (answer, buffers) => {
    const rows = (answer.rows as Omit<Row, "pixels">[]).map((row, index) => ({
      ...row,
      pixels: rgba(bytes(buffers[index])),
    }));
    store.set({ rows, given: answer.given as number });
  });
  kernel.answers("tiles", (answer, buffers) => {
    const planes = buffers.map((buffer) => new Int16Array(bytes(buffer).slice().buffer));
    const more = answer.more as boolean;
    store.set({
      tiles: merged(store.get("tiles"), answer.tiles as TileAnswer[], planes, more),
      explained: answer.targets as ExplainedClass[],
    });
    if (more) ask();
    store.set({ awaited: kernel.awaits("tiles") });
  });
  const ask = () => {
    const have = [...store.get("tiles").values()].map(({ number }) => number);
    store.set({ awaited: true });
    kernel.ask("tiles", { have });
  };
  kernel.ask("rows", {});
  store.watch(["_tiles"], ask, signal);
}

/** Explain another class in a row. */
export function explain({ store }: Session, row: number, index: number): void {
  if (store.get("offline")) return;
  const targets = [...store.get("targets")];
  targets[row] = index;
  store.set({ targets });
}
