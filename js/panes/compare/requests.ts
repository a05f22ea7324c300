/** What is asked of the kernel about both networks. */
import { bytes, floats } from "../../lib/buffers";
import { many } from "../../lib/format";
import type { KernelError, Session, View } from "../../seam";
import { takeThumbnails } from "../shared/thumbnails";
import { unreadable, type Work } from "../shared/work";
import { tieSquares } from "./sides";
import { type CompareState, type Filters, type Matches, names, type Together } from "./state";

export function linkCompare(session: Session<CompareState>): void {
  const { store, kernel } = session;
  tieSquares(session);
  takeThumbnails(session);
  store.watch(["slow"], () => {
    const ending = (kind: string) => (kind.endsWith("_b") ? [kind.slice(0, -2)] : []);
    store.set({ slow_b: store.get("slow").flatMap(ending) });
  });
  store.watch(["errors"], () => {
    const ending = ([kind, error]: [string, KernelError]) =>
      kind.endsWith("_b") ? [[kind.slice(0, -2), error] as const] : [];
    store.set({ errors_b: Object.fromEntries(Object.entries(store.get("errors")).flatMap(ending)) });
  });
  store.watch(["_network", "_comparison"], () =>
    store.set({ both: { ...store.get("_network"), name: names(store).join(" and ") } }),
  );
  kernel.answers("filters", (answer, buffers) => {
    const sides = answer.sides as (Omit<Filters, "pixels"> | null)[];
    store.set({ filters: sides.map((side, at) => side && { ...side, pixels: bytes(buffers[at]) }) });
  });
  kernel.ask("filters", {});
  kernel.answers("cka", (answer, [values]) =>
    store.set({
      matrix: {
        rows: answer.rows as number,
        columns: answer.columns as number,
        values: floats(values),
      },
    }),
  );
  kernel.answers("matches", (answer, [a, b]) =>
    store.set({ matches: { ...(answer as unknown as Matches), patches: [bytes(a), bytes(b)] } }),
  );
  kernel.answers("together", (answer) => {
    const { picture, rows, columns } = answer as unknown as Together;
    store.set({ together: { picture, rows, columns } });
  });
  let asked = false;
  store.watch(["_comparison"], () => {
    const { known, cka } = store.get("_comparison");
    if (asked || !known || cka !== null) return;
    asked = true;
    kernel.ask("cka", {});
  });
  let last = "";
  store.watch(["_comparison", "layer_a", "layer_b", "pair_order", "pair_show", "pairs"], () => {
    if (!store.get("_comparison").known) return;
    const wanted = {
      layer_a: store.get("layer_a"),
      layer_b: store.get("layer_b"),
      pair_order: store.get("pair_order"),
      pair_show: store.get("pair_show"),
      pairs: store.get("pairs"),
    };
    // News of the filters changes nothing about units.
    const key = Object.values(wanted).join("\n");
    if (key !== last) kernel.ask("matches", wanted);
    last = key;
  });
  store.watch(["_pictures", "_revision"], () => kernel.ask("thumbnails", {}));
  store.watch(["picture", "_revision"], () => kernel.ask("together", { picture: store.get("picture") }));
}

/** The work behind it, for the status line. */
export const compareWork = ({ store, kernel }: View<CompareState>): Work => ({
  label: "Comparing",
  noun: "compared:",
  begins: "comparing begins",
  progress: () => store.get("_work"),
  onChange: (run) => store.onChange(["_work", "_comparison"], run),
  whole: () => `compared on ${many(store.get("_comparison").compared ?? 0, "picture")}`,
  note: () => unreadable(store.get("_comparison").unread),
  resume: () => kernel.tell("resume"),
  failure: () => "comparing failed",
  retry: "try again",
});
