import { expect, it } from "vitest";
import { shorten } from "./names";

const short = (...names: string[]) =>
  shorten(names.map((name) => ({ name }))).map(({ group, short }) => [group, short]);

it("says the block once and the rest short", () => {
  expect(
    short("conv_stem", "blocks.4.1.conv_pw", "blocks.4.1.conv_dw", "features.26", "features.28"),
  ).toEqual([
    ["", "conv_stem"],
    ["blocks.4.1", "conv_pw"],
    ["blocks.4.1", "conv_dw"],
    ["features", "26"],
    ["features", "28"],
  ]);
});

it("calls the only layer of a block by the block's name", () => {
  expect(
    short("Mixed_6e.branch1x1.conv", "Mixed_6e.branch7x7_1.conv", "layer2.0.conv2", "layer2.0.relu#2"),
  ).toEqual([
    ["Mixed_6e", "branch1x1"],
    ["Mixed_6e", "branch7x7_1"],
    ["layer2.0", "conv2"],
    ["layer2.0", "output"],
  ]);
});

it("leaves what closes a block with the block", () => {
  expect(short("blocks.3.1.conv_dw", "blocks.3.1.conv_pwl", "blocks.3.1")).toEqual([
    ["blocks.3.1", "conv_dw"],
    ["blocks.3.1", "conv_pwl"],
    ["blocks.3.1", "output"],
  ]);
  expect(short("layer2.0.relu#2", "layer2.0.conv3", "layer2.0.relu#3", "layer2.1.conv1")).toEqual([
    ["layer2.0", "relu#2"],
    ["layer2.0", "conv3"],
    ["layer2.0", "output"],
    ["layer2", "1"],
  ]);
  expect(short("Mixed_6d.branch1x1.conv", "Mixed_6d.branch_pool.conv", "Mixed_6d").at(-1)).toEqual([
    "Mixed_6d",
    "output",
  ]);
});
