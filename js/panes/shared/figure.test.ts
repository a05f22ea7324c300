import { expect, it, vi } from "vitest";
import { linkFigures } from "../../host/figures";
import { viewOf } from "../../testing";
import { figureButtons } from "./figure";

it("asks for a figure by its name and kind, and saves what comes under the kernel's name", () => {
  const view = viewOf();
  linkFigures(view);
  const buttons = figureButtons(view, "unit", "the unit").querySelectorAll("button");
  expect([...buttons].map(({ title }) => title)).toEqual(["Save the unit as PNG", "Save the unit as SVG"]);
  buttons[1]?.click();
  expect(view.kernel.ask).toHaveBeenLastCalledWith("figure", { what: "unit", format: "svg" });

  const made = vi.fn((_blob: Blob) => "blob:1");
  vi.stubGlobal("URL", Object.assign(URL, { createObjectURL: made, revokeObjectURL: vi.fn() }));
  const saved: string[] = [];
  const click = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (
    this: HTMLAnchorElement,
  ) {
    saved.push(`${this.download} ${this.href}`);
  });
  view.kernel.answer("figure", { file: "net-unit.svg" }, [new DataView(Uint8Array.of(60, 62).buffer)]);
  expect(saved).toEqual(["net-unit.svg blob:1"]);
  expect([made.mock.lastCall?.[0].type, made.mock.lastCall?.[0].size]).toEqual(["image/svg+xml", 2]);
  click.mockRestore();
  vi.unstubAllGlobals();
});
