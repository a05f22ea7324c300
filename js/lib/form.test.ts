import { describe, expect, it } from "vitest";
import { coverage, enclosed, kindOf, type Outline } from "./form";
import type { Extent, Position } from "./geometry";

const area = (covered: Uint8Array) => covered.reduce((sum, one) => sum + one, 0);
const circle = (points: number, radius: number, row: number, column: number): Position[] =>
  Array.from({ length: points }, (_, index) => {
    const angle = (2 * Math.PI * index) / points;
    return [row + radius * Math.sin(angle), column + radius * Math.cos(angle)];
  });

describe("coverage", () => {
  it("covers exactly the pixels of a square", () => {
    expect(area(coverage("square", [50, 30]))).toBe(1500);
  });

  it("covers about the area of an ellipse, and not its corners", () => {
    const covered = coverage("ellipse", [60, 90]);
    expect(area(covered) / (Math.PI * 30 * 45)).toBeCloseTo(1, 2);
    expect(covered[0]).toBe(0);
  });

  it("an outline of the box's corners is the square, and half of it the triangle", () => {
    const corners: Outline = [
      [0, 0],
      [0, 1],
      [1, 1],
      [1, 0],
    ];
    expect(coverage(corners, [7, 13])).toEqual(coverage("square", [7, 13]));
    const triangle = coverage(corners.slice(0, 3), [20, 20]);
    for (let row = 0; row < 20; row++)
      for (let column = 0; column < 20; column++)
        if (row !== column) expect(triangle[row * 20 + column]).toBe(column > row ? 1 : 0);
  });

  it("an outline with many corners on the ellipse covers what the ellipse covers, up to its edge", () => {
    const outline = circle(720, 0.5, 0.5, 0.5);
    const [one, other] = [coverage(outline, [80, 40]), coverage("ellipse", [80, 40])];
    const differing = one.filter((value, index) => value !== other[index]).length;
    expect(differing).toBeLessThan(12);
  });

  it("a polygon that crosses itself leaves out what it goes around twice", () => {
    const twice: Outline = [...circle(4, 0.5, 0.5, 0.5), ...circle(4, 0.5, 0.5, 0.5)];
    expect(area(coverage(twice, [10, 10]))).toBe(0);
  });

  it("a mask is its bits, and scaled by whole numbers each bit becomes a block", () => {
    // 2 x 3: 1 0 1 / 0 1 1, padded with two zeros: 1010 1100
    const mask = { bits: btoa(String.fromCharCode(0b10101100)), height: 2, width: 3 };
    expect([...coverage(mask, [2, 3])]).toEqual([1, 0, 1, 0, 1, 1]);
    expect([...coverage(mask, [4, 3])]).toEqual([1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1]);
    expect(kindOf(mask)).toBe("free");
  });
});

describe("enclosed", () => {
  const picture: Extent = [224, 224];

  it("finds the box of a drawn line, and its outline covers what was drawn around", () => {
    const found = enclosed(circle(100, 30, 100, 120), picture);
    expect(found?.position).toEqual([70, 90]);
    expect(found?.size).toEqual([60, 60]);
    const covered = coverage(found?.shape ?? "square", found?.size ?? [1, 1]);
    expect(area(covered) / (Math.PI * 900)).toBeCloseTo(1, 1);
  });

  it("keeps inside the picture what was drawn beyond its border", () => {
    const found = enclosed(circle(100, 50, 0, 224), picture);
    expect(found?.position).toEqual([0, 174]);
    expect(found?.size).toEqual([50, 50]);
    for (const [row, column] of found?.shape ?? []) {
      expect(Math.min(row, column)).toBeGreaterThanOrEqual(0);
      expect(Math.max(row, column)).toBeLessThanOrEqual(1);
    }
  });

  it("takes a tap, a short stroke and a straight line for no form", () => {
    expect(enclosed([[5, 5]], picture)).toBeNull();
    expect(enclosed(circle(20, 1, 50, 50), picture)).toBeNull();
    expect(
      enclosed(
        Array.from({ length: 90 }, (_, index) => [index, 40]),
        picture,
      ),
    ).toBeNull();
  });
});
