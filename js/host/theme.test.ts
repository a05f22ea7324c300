import { afterEach, expect, it, vi } from "vitest";
import { followTheme } from "./theme";

const ending = new AbortController();
afterEach(() => {
  vi.restoreAllMocks();
});

const settled = () => new Promise((resolve) => setTimeout(resolve));

function link(rel: string): HTMLLinkElement {
  return Object.assign(document.createElement("link"), { rel });
}

it("looks at the page's colours again when a style sheet comes or goes, not at each change of its icon", async () => {
  const [outer, root] = [document.createElement("div"), document.createElement("div")];
  document.body.append(outer);
  followTheme(outer, root, ending.signal);
  await settled();
  const looked = vi.spyOn(window, "getComputedStyle");
  const icon = link("icon");
  document.head.append(icon);
  icon.dispatchEvent(new Event("load"));
  icon.remove();
  await settled();
  expect(looked).not.toHaveBeenCalled();

  const changes: [string, () => void][] = [
    ["a new sheet", () => document.head.append(document.createElement("style"))],
    ["a sheet that is there", () => sheet.dispatchEvent(new Event("load"))],
    ["the page's own mark", () => document.body.setAttribute("data-jp-theme-light", "false")],
  ];
  const sheet = link("stylesheet");
  document.head.append(sheet);
  await settled();
  for (const [what, change] of changes) {
    looked.mockClear();
    change();
    await settled();
    expect(looked, what).toHaveBeenCalled();
  }
  ending.abort();
});
