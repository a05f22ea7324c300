/** What the gallery asks of the kernel, and when: pictures once, maps as they come, never for a matter of colours. */
import { rgba } from "../../lib/atlas";
import { bytes, int16s } from "../../lib/buffers";
import type { Session, View } from "../../seam";
import type { Work } from "../shared/work";
import type { ExplainedClass, GalleryState, Row, TileAnswer } from "./state";
import { merged } from "./tiles";

export function linkGallery({ store, kernel }: Session<GalleryState>): void {
  kernel.answers("compute", () => {});
  kernel.answers("rows", (answer, buffers) => {
    const rows = (answer.rows as Omit<Row, "pixels">[]).map((row, index) => ({
      ...row,
      pixels: rgba(bytes(buffers[index])),
    }));
    const unread = (answer.unread ?? []) as GalleryState["unread"];
    store.set({ rows, given: answer.given as number, unread });
  });
  kernel.answers("tiles", (answer, buffers) => {
    const planes = buffers.map(int16s);
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
  store.watch(["_tiles"], ask);
}

/** Explain another class in a row. */
export function explain({ store }: Session<GalleryState>, row: number, index: number): void {
  if (store.get("offline")) return;
  const targets = [...store.get("targets")];
  targets[row] = index;
  store.set({ targets });
}

export const galleryWork = ({ store, kernel }: View<GalleryState>): Work => ({
  label: "Maps",
  noun: "maps",
  begins: "maps begin",
  progress: () => store.get("_tiles"),
  onChange: (run) => store.onChange(["_tiles"], run),
  whole: (done) => `${done} maps`,
  failure: ({ total }) => `${store.get("_tiles").failed} of ${total} maps failed`,
  resume: () => kernel.ask("compute", {}),
  retry: "try again",
});
