/** Short names for layers: the stage is said once, above its layers. */

export interface Named {
  name: string;
  /** The part that a run of neighbouring layers shares, "" where there is none. */
  group: string;
  short: string;
}

/** Module paths such as `blocks.4.1.conv_pw`, grouped by their stage (`blocks.4`) with the rest as the short name. */
export function shorten(names: readonly string[]): Named[] {
  return names.map((name) => {
    const parts = name.split(".");
    if (parts.length === 1) return { name, group: "", short: name };
    // "blocks.4", "layer2", "features": a container's name, with its number where more path follows the number.
    const depth = parts.length > 2 && /^\d+$/.test(parts[1] ?? "") ? 2 : 1;
    return { name, group: parts.slice(0, depth).join("."), short: parts.slice(depth).join(".") };
  });
}
