/** Figures that the kernel has drawn become files of who asked for them. */
import { el } from "../lib/dom";
import type { Session } from "../seam";

const KINDS: Record<string, string> = { png: "image/png", svg: "image/svg+xml" };

export function linkFigures({ kernel }: Session<object>): void {
  kernel.answers("figure", ({ file }, [bytes]) => {
    const name = String(file);
    const type = KINDS[name.slice(name.lastIndexOf(".") + 1)] ?? "";
    const href = URL.createObjectURL(new Blob(bytes ? [bytes as DataView<ArrayBuffer>] : [], { type }));
    el("a", { href, download: name }).click();
    // The browser has taken it by then, also one that asks where to put it.
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  });
}
