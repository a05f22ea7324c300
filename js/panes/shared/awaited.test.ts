import { expect, it } from "vitest";
import type { Slice } from "../../seam";
import { viewOf } from "../../testing";
import { showAwaited } from "./awaited";

const slice: Slice<{ found: number | null; wanted: number }> = { initial: { found: null, wanted: 1 } };

it("says what is loading, of before, or failed; and of a saved page that nothing is to come", () => {
  const view = viewOf(slice);
  const { store } = view;
  const element = document.createElement("div");
  showAwaited(view, element, "find", ["found", "wanted"], () =>
    store.get("found") === null ? "loading" : store.get("found") === store.get("wanted") ? "" : "stale",
  );
  const error = { kind: "find", name: "ImageError", message: "Expected a picture.", details: "" };
  const said: string[] = [element.className];
  for (const change of [
    { errors: { other: error } },
    { errors: { find: error } },
    { errors: {} },
    { offline: true },
    { offline: false, found: 1 },
    { wanted: 2 },
    { errors: { find: error } },
    { found: 2 },
  ]) {
    store.set(change);
    said.push(element.className);
  }
  const [loading, stale, failed] = ["cs-is-loading", "cs-is-stale", "cs-is-failed"];
  expect(said).toEqual([loading, loading, failed, loading, "", "", stale, failed, ""]);
});
