/** Short names for layers: the block is named once, above its layers. */

export interface Named {
  name: string;
  /** The module that a run of neighbouring layers shares, "" at the top. */
  group: string;
  /** The module that a run of neighbouring groups shares: of `layer3.17` it is `layer3`. */
  stage: string;
  short: string;
}

/**
 * Module paths such as `blocks.4.1.conv_pw` as their stage (`blocks.4`), their block (`blocks.4.1`) and their own name
 * (`conv_pw`).
 *
 * A layer named like the block that went before (a residual add has the block's own name) closes that block: it is the
 * block's output. So is the last call of a module that the block calls again and again (`layer3.22.relu#3`).
 */
export function shorten(layers: readonly { name: string }[]): Named[] {
  const blocks = layers.map(({ name }) => split(name)[0]);
  let before = "";
  return layers.map(({ name }, index) => {
    let [group, short] = split(name);
    const alone = blocks[index - 1] !== group && blocks[index + 1] !== group;
    // A block of one layer (`Mixed_6e.branch7x7_1.conv`) says less than the block it stands in: it lends its name.
    if (alone && group.includes(".")) [group, short] = split(group);
    if (name === before) [group, short] = [name, "output"];
    if (group.includes(".") && blocks[index + 1] !== group && /#\d+$/.test(short)) short = "output";
    before = group;
    return { name, group, stage: split(group)[0] || group, short };
  });
}

/** Runs of neighbouring layers that share a stage or a group. */
export function blocksOf(layers: readonly { name: string }[], by: "stage" | "group"): Named[][] {
  const runs: Named[][] = [];
  const known = layers.every((one): one is Named => "group" in one) ? (layers as Named[]) : shorten(layers);
  for (const one of known) {
    const run = runs.at(-1);
    if (run?.[0]?.[by] === one[by]) run.push(one);
    else runs.push([one]);
  }
  return runs;
}

/** A path before and after its last dot. */
function split(path: string): [string, string] {
  const at = path.lastIndexOf(".");
  return [path.slice(0, Math.max(0, at)), path.slice(at + 1)];
}
