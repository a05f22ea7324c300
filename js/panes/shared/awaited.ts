/** What is not there yet is loading, what is of before is updating, and neither goes on for ever after an error. */
import { is } from "../../lib/dom";
import type { HostSlice, View } from "../../seam";

/**
 * Say in a word over an element how what it shows stands; the words are the style sheet's.
 *
 * `kind`: of the request that brings it; `keys`: what `stand` looks at, which gives "" where it is there.
 */
export function showAwaited<S extends object>(
  { store }: View<S>,
  element: HTMLElement,
  kind: string,
  keys: readonly (keyof (S & HostSlice))[],
  stand: () => "" | "loading" | "stale",
): void {
  store.watch([...keys, "errors", "offline"], () => {
    const now = stand();
    const failed = now !== "" && kind in store.get("errors");
    const word = failed ? "failed" : now === "loading" && store.get("offline") ? "" : now;
    for (const one of ["loading", "stale", "failed"]) is(element, one, one === word);
  });
}
