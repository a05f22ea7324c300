import { describe, expect, it } from "vitest";
import { searched } from "./numbers";

describe("searched", () => {
  it("reads numbers and ranges", () => {
    expect([...(searched("2, 5-7 9", 100) ?? [])]).toEqual([2, 5, 6, 7, 9]);
    expect([...(searched(" ", 100) ?? [])]).toEqual([]);
  });

  it("leaves out what the layer does not have, without counting to infinity", () => {
    expect([...(searched("98-99999999999", 100) ?? [])]).toEqual([98, 99]);
    expect(searched("400", 100)?.size).toBe(0);
  });

  it("refuses what is no number", () => {
    expect(searched("cat", 100)).toBeNull();
    expect(searched("3-", 100)).toBeNull();
  });
});
