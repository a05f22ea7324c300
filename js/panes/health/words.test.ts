import { describe, expect, it } from "vitest";
import type { HealthRow } from "./state";
import { nothingText, rowText, summaryText } from "./words";

const row: HealthRow = {
  layer: "stem",
  kind: "conv",
  channels: 8,
  dead: 0.25,
  rare: 0,
  duplicated: 0.125,
  active: 0.5,
  saturated: null,
};

describe("health", () => {
  it("counts what is a share", () => {
    expect(rowText(row, "dead")).toBe(
      "stem: 8 filters, 2 dead, none rarely active, 1 repeated, active at 50 % of places",
    );
    expect(rowText({ ...row, saturated: 0.1 }, "dead")).toContain("saturated at 10 %");
  });

  it("adds layers up by their filters, not by their shares", () => {
    const other = { ...row, layer: "head", channels: 24, dead: 0, duplicated: 0 };
    expect(summaryText([row, other], 100, "dead")).toBe(
      "32 filters of 2 layers over 100 pictures: 6.3\u00a0% dead, 0.0\u00a0% in less than one picture in a hundred, " +
        "3.1\u00a0% repeat another.",
    );
    expect(summaryText([{ ...row, rare: null }], 11, "inactive")).toBe(
      "8 filters of 1 layer over 11 pictures: 25.0\u00a0% inactive, 12.5\u00a0% repeat another. " +
        "Too few pictures to tell which are rarely active.",
    );
    expect(summaryText([{ ...row, rare: null, duplicated: null }], 1, "inactive")).toBe(
      "8 filters of 1 layer over 1 picture: 25.0\u00a0% inactive. " +
        "Too few pictures to tell which are rarely active or repeat another.",
    );
    expect(rowText({ ...row, rare: null, duplicated: null }, "inactive")).toBe(
      "stem: 8 filters, 2 inactive, active at 50 % of places",
    );
    expect(nothingText([row], "dead")).toBe("No unit is dead, rarely active or repeated.");
    expect(nothingText([{ ...row, rare: null }], "inactive")).toBe("No unit is inactive or repeated.");
    expect(nothingText([{ ...row, rare: null, duplicated: null }], "inactive")).toBe("No unit is inactive.");
    expect(rowText({ ...row, rare: null }, "inactive")).toBe(
      "stem: 8 filters, 2 inactive, 1 repeated, active at 50 % of places",
    );
  });
});
