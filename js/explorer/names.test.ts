import { expect, it } from "vitest";
import { shorten } from "./names";

it("says the block once and the rest short", () => {
  expect(["conv_stem", "blocks.4.1.conv_pw", "layer2.1.relu#2", "features.28"].map(shorten)).toEqual([
    { name: "conv_stem", group: "", short: "conv_stem" },
    { name: "blocks.4.1.conv_pw", group: "blocks.4.1", short: "conv_pw" },
    { name: "layer2.1.relu#2", group: "layer2.1", short: "relu#2" },
    { name: "features.28", group: "features", short: "28" },
  ]);
});
